"""The architecture that names, shapes and the graph of a full-model file show."""

from __future__ import annotations

import dataclasses
import itertools

import checkpoints
import pytest
from sweeps import each_once, slow_but

from weight_transfer import Architecture, Head, Hints, design, identify, read_checkpoint
from weight_transfer.resnet.dialects import DIALECTS
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping


def identified(path, **hints) -> Architecture:
    with read_checkpoint(path) as checkpoint:
        return identify(checkpoint, Hints(**hints)).network.resnet


def same_network(actual: Architecture, expected: Architecture) -> bool:
    """Equal but for what only training sees and for names of layers without weights."""
    return (actual.block, actual.block_counts, actual.filters, actual.head, mapping(resnet_graph(actual))) == (
        expected.block,
        expected.block_counts,
        expected.filters,
        expected.head,
        mapping(resnet_graph(expected)),
    ) and dataclasses.replace(actual.conventions, kernel_initializer="he_normal") == dataclasses.replace(
        expected.conventions, kernel_initializer="he_normal"
    )


PUBLISHED = (18, 34, 50, 101, 152)


@pytest.mark.parametrize(
    ("dialect", "depth"), slow_but(each_once([*DIALECTS], PUBLISHED), itertools.product(DIALECTS, PUBLISHED))
)
def test_every_dialect_and_depth_is_told_from_names_given_the_dialect(dialect, depth, tmp_path):
    width = 3 if depth > 34 else 2
    filters = tuple((4,) * width for _ in range(4))
    expected = design(depth, dialect=dialect, stem_filters=4, filters=filters, in_shape=(224, 224, 3))
    path = checkpoints.checkpoint(tmp_path / "w.h5", expected, weights_only=True)
    assert same_network(identified(path, dialect=dialect), expected)


def test_full_model_shows_its_own_conventions(tmp_path):
    """Names of one dialect, conventions of none: the graph in the file decides."""
    expected = checkpoints.small(
        "keras-2.2", epsilon=3e-4, momentum=0.9, stride_in="3x3", stem_padding="same", pool_padding="none"
    )
    actual = identified(checkpoints.checkpoint(tmp_path / "m.h5", expected))
    assert same_network(actual, expected)
    assert actual.in_shape == (33, 33, 3)


@pytest.mark.parametrize(
    "head",
    [
        Head(pooling="avg", classes=None),
        Head(pooling="max", classes=None),
        Head(pooling=None, classes=None),
        Head(classes=1, activation="sigmoid"),
        Head(classes=9, activation="linear"),
        Head(classes=9, dropout=0.25),
        Head(pooling="max", classes=9),
    ],
)
def test_full_model_shows_its_head(head, tmp_path):
    expected = checkpoints.small("keras-applications", head=head)
    assert identified(checkpoints.checkpoint(tmp_path / "m.keras", expected)).head == head


def test_tutorial_head_on_another_backbone(tmp_path):
    names = {"hidden": "fc_01", "classifier": "fc_final"}
    base = checkpoints.small("keras-applications", head=Head(hidden_units=5, classes=3, dropout=0.5))
    expected = dataclasses.replace(base, names=dataclasses.replace(base.names, **names))
    assert same_network(identified(checkpoints.checkpoint(tmp_path / "m.h5", expected)), expected)


@pytest.mark.parametrize("stem_conv", ["conv", "conv1"])
def test_tutorial_stem_has_two_names(stem_conv, tmp_path):
    base = checkpoints.small()
    expected = dataclasses.replace(base, names=dataclasses.replace(base.names, stem_conv=stem_conv))
    path = checkpoints.checkpoint(tmp_path / "w.h5", expected, weights_only=True)
    assert same_network(identified(path), expected)
