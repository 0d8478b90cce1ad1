"""What the bottleneck saves: blocks and networks of either kind at the same width and at the same depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from resnet_torch.anatomy import published
from resnet_torch.anatomy.measuring import measure
from resnet_torch.anatomy.networks import convolutions_of
from resnet_torch.blocks import ResidualBlock, basic_identity_block, identity_block
from resnet_torch.resnet import create_resnet
from weight_transfer.architecture import DEPTHS, BlockKind, Head, standard_filters

BLOCK_SIZE = (56, 56)  # conv2_x, where figure 5 stands

# 24 basic blocks are 50 layers; spread over the stages as ResNet-50's 16 are, what is left over
# where it is cheap.
FIFTY_LAYERS_OF_BASIC = (5, 6, 9, 4)


@dataclass(frozen=True)
class Choice:
    """A block or a network that one could have built.

    Attributes:
        title: What it is.
        kind: Of its blocks.
        parts: The convolutions of a block; the blocks in each stage of a network.
        num_layers: With weights, on the longest path.
        width: Channels of its output.
        num_parameters: Weights and biases.
        multiply_adds: Of one image or feature map.
    """

    title: str
    kind: BlockKind
    parts: tuple[str, ...] | tuple[int, ...]
    num_layers: int
    width: int
    num_parameters: int
    multiply_adds: int


def blocks() -> list[Choice]:
    """The two blocks of the paper's figure 5, and the basic one at the bottleneck's width, on 56 x 56.

    Source: He et al. 2015 (arXiv:1512.03385), figure 5.
    """
    return [
        _block("basic", "basic", basic_identity_block, (64, 64)),
        _block("bottleneck", "bottleneck", identity_block, (64, 64, 256)),
        _block("basic, as wide", "basic", basic_identity_block, (256, 256)),
    ]


def _block(title: str, kind: BlockKind, build: Callable[..., ResidualBlock], filters: Sequence[int]) -> Choice:
    with torch.device("meta"):
        block = build(filters[-1], 3, filters, 2, "b").eval()
    measured = measure(block, (filters[-1], *BLOCK_SIZE))
    return Choice(
        title,
        kind,
        convolutions_of(block),
        len(filters),
        filters[-1],
        measured.num_parameters,
        measured.multiply_adds[""],
    )


def networks() -> list[Choice]:
    """ResNet-50 and what one could have built of basic blocks in its place, at 224 x 224."""
    kind, counts = DEPTHS[50]
    narrow = standard_filters("basic", len(counts))
    wide = tuple((filters[-1],) * 2 for filters in standard_filters(kind, len(counts)))
    return [
        _network("ResNet-34, basic", "basic", DEPTHS[34][1], narrow),
        _network("ResNet-50, bottleneck", kind, counts, standard_filters(kind, len(counts))),
        _network("basic, as deep", "basic", FIFTY_LAYERS_OF_BASIC, narrow),
        _network("basic, as wide", "basic", counts, wide),
        _network("basic, as deep, as wide", "basic", FIFTY_LAYERS_OF_BASIC, wide),
    ]


def _network(title: str, kind: BlockKind, counts: tuple[int, ...], filters: tuple[tuple[int, ...], ...]) -> Choice:
    with torch.device("meta"):
        model = create_resnet(
            (*published.INPUT_SIZE, 3), head=Head(), block=kind, block_counts=counts, filters=filters
        ).eval()
    measured = measure(model, (3, *published.INPUT_SIZE))
    return Choice(
        title,
        kind,
        counts,
        model.architecture.depth,
        filters[-1][-1],
        measured.num_parameters,
        measured.multiply_adds[""],
    )
