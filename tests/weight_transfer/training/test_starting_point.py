"""What a training starts from: a drawn network, or a file's, with its head or another."""

from __future__ import annotations

import dataclasses

import checkpoints
import numpy as np
import pytest

from weight_transfer import convert
from weight_transfer.architecture import Head
from weight_transfer.errors import ArchitectureError, TransferError
from weight_transfer.training import Recipe
from weight_transfer.training.starting_point import starting_point
from weight_transfer.weight_mapping import mapping


def recipe(start=None, **more) -> Recipe:
    return Recipe(data="d", output="o", checkpoint=None if start is None else str(start), **more)


def test_from_scratch_it_is_the_tutorials_network():
    start = starting_point(recipe(), classes=10)
    assert (start.network.resnet.depth, start.network.resnet.in_shape, start.size) == (50, (128, 128, 3), (128, 128))
    assert start.network.resnet.head == Head(hidden_units=200, classes=10, dropout=0.5)
    assert not start.state
    other = starting_point(recipe(depth=18, size=(64, 96), dropout=0.0), classes=7)
    assert (other.network.resnet.depth, other.size, other.network.resnet.head.dropout) == (18, (64, 96), 0.0)
    assert other.network.resnet.head.classes == 7


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return checkpoints.checkpoint(tmp_path_factory.mktemp("files") / "small.h5", checkpoints.small())


def test_a_file_and_its_conversion_are_the_same_start(file, tmp_path):
    classes = checkpoints.small().head.classes
    port = convert(file, tmp_path / "port.safetensors").output
    ours, theirs = (starting_point(recipe(path), classes) for path in (file, port))
    assert ours.network == theirs.network
    assert ours.state.keys() == theirs.state.keys() == {row.torch for row in mapping(ours.network)}
    for name in ours.state:
        np.testing.assert_array_equal(ours.state[name], theirs.state[name])
    assert (ours.source, ours.own_head) == (file, True)


def test_a_new_head_keeps_the_backbone(file):
    own = starting_point(recipe(file), checkpoints.small().head.classes)
    start = starting_point(recipe(file, new_head=True, dropout=0.25), classes=7)
    assert start.network.resnet.head == Head(hidden_units=200, classes=7, dropout=0.25)
    assert not start.own_head
    assert set(start.state) == {name for name in own.state if not name.startswith("head.")}
    missing = {row.keras for row in mapping(start.network)} - {
        row.keras for row in mapping(start.network) if row.torch in start.state
    }
    assert missing == {"fc_01/kernel", "fc_01/bias", "fc_final/kernel", "fc_final/bias"}


def test_a_backbone_without_top_gets_the_head_unasked(tmp_path):
    backbone = dataclasses.replace(checkpoints.small(), head=Head(pooling=None, classes=None))
    path = checkpoints.checkpoint(tmp_path / "backbone.h5", backbone)
    start = starting_point(recipe(path), classes=7)
    assert start.network.resnet.head == Head(hidden_units=200, classes=7, dropout=0.5)
    assert starting_point(recipe(path, size=(64, 64)), classes=7).size == (64, 64)


def test_what_does_not_fit_is_said(file, tmp_path):
    with pytest.raises(ArchitectureError, match=r"Expected 7, as the data has. Replace it by --new-head"):
        starting_point(recipe(file), classes=7)
    with pytest.raises(TransferError, match=r"nothing\.h5"):
        starting_point(recipe(tmp_path / "nothing.h5"), classes=7)
