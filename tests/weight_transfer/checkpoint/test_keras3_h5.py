"""Keras 3's groups: layouts beyond those that the installed versions write."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from handmade_h5 import some, write_keras3

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import CheckpointError


def test_what_is_no_weight_is_skipped_and_listed(tmp_path):
    groups = {
        "layers/conv2d": ("conv1", [some(1, 1, 2, 3), some(3)]),
        "layers/dropout/seed_generator": ("seed_generator", [np.array([1, 2], "uint32")]),  # Keras 3.0
        "optimizer": ("adam", [some(1)]),
        "metrics/mean": (None, [some(1)]),
        "loss_tracker": ("loss", [some(1)]),
        "layers/functional/optimizer": ("adam", [some(1)]),  # a backbone that was compiled alone
        "layers/optimizer": ("mine", [some(1)]),  # a layer class of that name
    }
    with read_checkpoint(write_keras3(tmp_path / "a.h5", groups)) as checkpoint:
        assert list(checkpoint.arrays) == ["conv1/kernel", "conv1/bias", "mine/vars_0"]
        assert set(checkpoint.skipped) == {
            "layers/dropout/seed_generator",
            "optimizer",
            "metrics",
            "loss_tracker",
            "layers/functional/optimizer",
        }


def test_layers_come_in_the_order_of_their_counters(tmp_path):
    groups = {f"layers/conv2d_{i}": (None, [some(1, 1, 1, i)]) for i in range(1, 12)}
    with read_checkpoint(write_keras3(tmp_path / "a.h5", groups)) as checkpoint:
        assert list(checkpoint.arrays) == [f"conv2d_{i}/kernel" for i in range(1, 12)]
        assert checkpoint.names_are_counters


def test_more_than_ten_variables_keep_their_order(tmp_path):
    groups = {"layers/my_cell": ("cell", [some(i) for i in range(1, 13)])}
    with read_checkpoint(write_keras3(tmp_path / "a.h5", groups)) as checkpoint:
        assert list(checkpoint.arrays) == [f"cell/vars_{i}" for i in range(12)]


def test_the_container_of_keras_2_12(tmp_path):
    groups = {"_layer_checkpoint_dependencies/dense_1": (None, [some(2, 3), some(3)])}
    with read_checkpoint(write_keras3(tmp_path / "a.h5", {**groups, "layers/x": (None, [])})) as checkpoint:
        assert list(checkpoint.arrays) == ["dense_1/kernel", "dense_1/bias"]


def test_a_subclassed_model_has_attributes_for_layers(tmp_path):
    groups = {
        "": (None, [some(1)]),
        "backbone": (None, []),
        "backbone/layers/conv2d": (None, [some(1, 1, 2, 3)]),
        "classifier": ("fc", [some(2, 3)]),
    }
    with read_checkpoint(write_keras3(tmp_path / "a.h5", groups)) as checkpoint:
        assert set(checkpoint.arrays) == {"vars_0", "backbone/conv2d/kernel", "fc/vars_0"}


def test_variables_that_a_layer_named_itself(tmp_path):
    path = write_keras3(tmp_path / "a.h5", {"layers/dense": ("fc", [some(2, 3)])})
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/kernel_scale"] = some(3)
        file["layers/dense/vars/5"] = some(3)
    with read_checkpoint(path) as checkpoint:
        assert set(checkpoint.arrays) == {"fc/kernel", "fc/vars_5", "fc/kernel_scale"}


def test_two_layers_of_one_name(tmp_path):
    groups = {"layers/conv2d": ("conv", [some(2)]), "layers/conv2d_1": ("conv", [some(2)])}
    with pytest.raises(CheckpointError, match="'/layers/conv2d/vars/0' and '/layers/conv2d_1/vars/0' are both named"):
        read_checkpoint(write_keras3(tmp_path / "a.h5", groups))


def test_an_array_where_a_group_belongs(tmp_path):
    path = write_keras3(tmp_path / "a.h5", {"layers/dense": ("fc", [some(2, 3)])})
    with h5py.File(path, "a") as file:
        file["layers/stray"] = some(2)
    with pytest.raises(CheckpointError, match=r"'/layers/stray': an array. Expected a group"):
        read_checkpoint(path)


def test_a_group_where_an_array_belongs(tmp_path):
    path = write_keras3(tmp_path / "a.h5", {"layers/dense": ("fc", [some(2, 3)])})
    with h5py.File(path, "a") as file:
        file.create_group("layers/dense/vars/1")
    with pytest.raises(CheckpointError, match=r"'/layers/dense/vars/1': a group. Expected an array"):
        read_checkpoint(path)


def test_an_hdf5_file_that_is_no_checkpoint(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = some(2)
    with pytest.raises(CheckpointError, match="an HDF5 file, but no Keras checkpoint: it has neither 'layer_names'"):
        read_checkpoint(tmp_path / "a.h5")
