"""The paper's table 1, from our networks and from torchvision's."""

from __future__ import annotations

import pytest

from resnet_torch.network_summary import alternative_blocks, summary_of_depth
from weight_transfer import network_summary as published
from weight_transfer.errors import ArchitectureError

# He et al. 2015 (arXiv:1512.03385), table 1: how often the block of each stage stands there.
BASIC = ("3x3 {0}", "3x3 {0}")
BOTTLENECK = ("1x1 {0}", "3x3 {0}", "1x1 {1}")
TABLE_1 = {
    18: (BASIC, (2, 2, 2, 2)),
    34: (BASIC, (3, 4, 6, 3)),
    50: (BOTTLENECK, (3, 4, 6, 3)),
    101: (BOTTLENECK, (3, 4, 23, 3)),
    152: (BOTTLENECK, (3, 8, 36, 3)),
}


def test_every_size_and_every_block_is_the_papers(summaries):
    assert summaries.keys() == TABLE_1.keys()
    for depth, (block, counts) in TABLE_1.items():
        stem, *stages, pool = summaries[depth].parts
        assert {part.name: part.output_size for part in summaries[depth].parts} == published.OUTPUT_SIZES
        assert (stem.convolutions, pool.convolutions) == (("7x7 64",), ())
        for stage, width, count in zip(stages, (64, 128, 256, 512), counts, strict=True):
            assert stage.convolutions == tuple(text.format(width, 4 * width) for text in block)
            assert stage.num_blocks == count


def test_multiply_adds_are_the_papers(summaries):
    """18 and 34 without their projections, which the paper's have not; of 50's 3.86 the paper keeps 3.8."""
    for depth, summary in summaries.items():
        assert summary.published_multiply_adds == published.PUBLISHED_MULTIPLY_ADDS[depth]
        cost = summary.cost.multiply_adds - (summary.shortcut_multiply_adds if depth < 50 else 0)
        assert abs(summary.cost.multiply_adds - summary.published_multiply_adds) < published.PUBLISHED_UNIT
        digits = cost // published.PUBLISHED_UNIT if depth == 50 else round(cost / published.PUBLISHED_UNIT)
        assert digits == round(summary.published_multiply_adds / published.PUBLISHED_UNIT), depth


def test_the_parts_make_the_whole(summaries):
    for summary in summaries.values():
        assert sum(part.num_parameters for part in summary.parts) == summary.cost.num_parameters
        assert sum(part.multiply_adds for part in summary.parts) == summary.cost.multiply_adds


def test_with_torchvisions_conventions_the_cost_is_torchvisions():
    ours = summary_of_depth(50, stride_in="3x3", conv_bias=False)
    assert ours.cost == ours.torchvision
    assert ours.cost.multiply_adds - ours.published_multiply_adds > published.PUBLISHED_UNIT  # another stride


def test_another_size_has_no_published_figure():
    summary = summary_of_depth(18, (64, 96), classes=10)
    assert summary.published_multiply_adds is None
    assert [part.output_size for part in summary.parts] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3), (1, 1)]


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ArchitectureError, match="in_shape"):
        summary_of_depth(18, (0, 224))


def test_a_bottleneck_four_times_as_wide_costs_what_a_basic_block_does():
    basic, narrow_bottleneck, wide = alternative_blocks()
    assert narrow_bottleneck.width == wide.width == 4 * basic.width
    assert 0.9 < narrow_bottleneck.multiply_adds / basic.multiply_adds < 1  # figure 5: "similar"
    assert wide.multiply_adds == 2 * 9 * 256**2 * 56**2
    assert narrow_bottleneck.multiply_adds == (2 * 256 * 64 + 9 * 64**2) * 56**2


def test_fifty_layers_of_basic_blocks_cost_more(summaries, choices):
    fifty = choices["ResNet-50, bottleneck"]
    assert (fifty.num_parameters, fifty.multiply_adds) == (
        summaries[50].cost.num_parameters,
        summaries[50].cost.multiply_adds,
    )
    for title in ("basic, as deep", "basic, as deep, as wide"):
        assert choices[title].num_layers == fifty.num_layers == 50
        assert choices[title].multiply_adds > fifty.multiply_adds
    for title in ("basic, as wide", "basic, as deep, as wide"):
        assert choices[title].width == fifty.width == 2048
