"""An index and the files beside it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from handmade_h5 import some, write_keras3

from weight_transfer.checkpoint import limits, read_checkpoint
from weight_transfer.errors import CheckpointError

FIRST, SECOND = "m_00000.weights.h5", "m_00001.weights.h5"


def write_index(path, weight_map):
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


@pytest.fixture
def index(tmp_path):
    """Two shards; the second layer's name is in the first, its arrays in the second, as Keras writes them."""
    write_keras3(tmp_path / FIRST, {"layers/conv2d": ("stem", [some(1, 1, 2, 3)]), "layers/dense": ("fc", [])})
    write_keras3(tmp_path / SECOND, {"layers/dense": (None, [some(3, 2), some(2)])})
    return write_index(tmp_path / "m.weights.json", {"/layers/conv2d/vars": FIRST, "/layers/dense/vars": [SECOND]})


def test_shards_are_one_checkpoint(index):
    with read_checkpoint(index) as checkpoint:
        assert checkpoint.container == "keras3-sharded"
        assert set(checkpoint.arrays) == {"stem/kernel", "fc/kernel", "fc/bias"}
        np.testing.assert_array_equal(checkpoint["fc/kernel"], some(3, 2))
        assert not checkpoint.names_are_counters


def test_links_into_one_folder_are_followed(index, tmp_path):
    """As the Hugging Face cache lays files out."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in (index.name, FIRST, SECOND):
        (snapshot / name).symlink_to(tmp_path / name)
    with read_checkpoint(snapshot / index.name) as checkpoint:
        assert len(checkpoint.arrays) == 3


def test_a_missing_shard(index):
    (index.parent / SECOND).unlink()
    with pytest.raises(CheckpointError, match=f"{SECOND}': it cannot be opened .No such file"):
        read_checkpoint(index)


@pytest.mark.parametrize("name", ["../m.h5", "/etc/passwd", "a\\b.h5", "C:a.h5", "", ".", "..", "a\0b", "\x1b[2J/"])
def test_a_shard_elsewhere(index, name):
    write_index(index, {"/layers/conv2d/vars": name})
    with pytest.raises(CheckpointError, match=r"is not a file beside the index.*Expected plain names") as caught:
        read_checkpoint(index)
    assert str(caught.value).isprintable()


def test_a_shard_that_is_a_link_to_elsewhere(index, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.replace(tmp_path / SECOND, elsewhere / SECOND)
    (tmp_path / SECOND).symlink_to(elsewhere / SECOND)
    with pytest.raises(CheckpointError, match=f"shard '{SECOND}' is not a file beside the index"):
        read_checkpoint(index)


def test_a_shard_of_another_kind(index):
    (index.parent / SECOND).write_text("{}")
    with pytest.raises(CheckpointError, match="a shard that is no HDF5 file"):
        read_checkpoint(index)


def test_swapped_shards(index, tmp_path):
    os.replace(tmp_path / FIRST, tmp_path / "x")
    os.replace(tmp_path / SECOND, tmp_path / FIRST)
    os.replace(tmp_path / "x", tmp_path / SECOND)
    with pytest.raises(CheckpointError, match="group '/layers/conv2d/vars' is not in the shards that the index names"):
        read_checkpoint(index)


def test_a_group_that_no_shard_holds(index):
    write_index(index, {"/layers/conv2d/vars": FIRST, "/layers/conv2d_9/vars": SECOND})
    with pytest.raises(CheckpointError, match="group '/layers/conv2d_9/vars' is not in the shards"):
        read_checkpoint(index)


def test_what_is_skipped_need_not_be_there(index, tmp_path):
    write_keras3(tmp_path / FIRST, {"layers/conv2d": ("stem", [some(2)]), "optimizer": ("adam", [some(1)])})
    write_index(index, {"/optimizer/vars": FIRST, "/layers/conv2d/vars": FIRST})
    with read_checkpoint(index) as checkpoint:
        assert checkpoint.skipped == ("optimizer",)


def test_an_array_in_two_shards(index, tmp_path):
    write_keras3(tmp_path / SECOND, {"layers/conv2d": ("stem", [some(2)])})
    with pytest.raises(CheckpointError, match="'/layers/conv2d/vars/0': another shard holds it too"):
        read_checkpoint(index)


@pytest.mark.parametrize("weight_map", [[], 3, {"/a": 3}, {"/a": [3]}, {"/a": None}])
def test_a_malformed_index(index, weight_map):
    write_index(index, weight_map)
    with pytest.raises(CheckpointError, match="its weight_map does not list file names by group"):
        read_checkpoint(index)


def test_an_empty_index(index):
    write_index(index, {})
    with pytest.raises(CheckpointError, match=r"0 shards. Expected 1 to 1024"):
        read_checkpoint(index)


def test_an_architecture_without_weights(tmp_path):
    (tmp_path / "model.json").write_text('{"class_name": "Functional", "config": {}, "keras_version": "2.2.4"}')
    with pytest.raises(CheckpointError, match="a model's architecture as JSON, without its weights"):
        read_checkpoint(tmp_path / "model.json")


@pytest.mark.parametrize("body", ['{"error": "Not Found"}', "[1, 2]"])
def test_an_error_message(tmp_path, body):
    (tmp_path / "model.h5").write_text(body)
    with pytest.raises(CheckpointError, match="JSON, such as a server's error message"):
        read_checkpoint(tmp_path / "model.h5")


def test_a_huge_index(index, monkeypatch):
    monkeypatch.setattr(limits, "JSON_BYTES", 20)
    with pytest.raises(CheckpointError, match=r"JSON of .* bytes; 20 are accepted"):
        read_checkpoint(index)
