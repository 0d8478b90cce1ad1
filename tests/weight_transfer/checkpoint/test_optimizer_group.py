"""The optimizer's part of hostile files: refused when it is asked for, and in nobody's way until then."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from handmade_h5 import some, write_keras3, write_legacy

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import CheckpointError

CONFIG = {"class_name": "Sequential", "config": {"name": "m", "layers": []}}


def legacy(path, plant):
    write_legacy(path, {"conv1": {"conv1/kernel:0": some(2, 3)}}, config=CONFIG)
    with h5py.File(path, "a") as file:
        group = file.create_group("optimizer_weights")
        group["Adam/conv1/kernel/m:0"] = some(2, 3)
        group["iter:0"] = 3
        group.attrs["weight_names"] = [b"iter:0", b"Adam/conv1/kernel/m:0"]
        plant(group)
    return path


def keras3(path, plant):
    write_keras3(path, {"layers/conv2d": ("conv1", [some(2, 3)]), "optimizer": ("adam", [some(1)] * 12)})
    with h5py.File(path, "a") as file:
        plant(file["optimizer/vars"])
    return path


def nothing(group):
    pass


def test_in_the_optimizers_order(tmp_path):
    with read_checkpoint(legacy(tmp_path / "a.h5", nothing)) as checkpoint:
        assert [array.name for array in checkpoint.optimizer.arrays] == ["iter:0", "Adam/conv1/kernel/m:0"]
        np.testing.assert_array_equal(checkpoint.optimizer.arrays[1].read(), some(2, 3))
        assert checkpoint.variables == {"conv1/kernel": "conv1/kernel:0"}
        assert checkpoint.skipped == ("optimizer_weights",)
    with read_checkpoint(keras3(tmp_path / "b.h5", nothing)) as checkpoint:
        assert [array.name for array in checkpoint.optimizer.arrays] == [str(number) for number in range(12)]
        assert checkpoint.optimizer.name == "adam"


def test_without_one(tmp_path):
    with read_checkpoint(write_legacy(tmp_path / "a.h5", {"conv1": {"conv1/kernel:0": some(2)}})) as checkpoint:
        assert checkpoint.optimizer is None
    with read_checkpoint(write_keras3(tmp_path / "b.h5", {"layers/conv2d": (None, [some(2)])})) as checkpoint:
        assert checkpoint.optimizer is None
    for name in ("optimizer", "optimizer/other"):
        path = write_keras3(tmp_path / "c.h5", {"layers/conv2d": (None, [some(2)])})
        with h5py.File(path, "a") as file:
            file.create_group(name)
        with read_checkpoint(path) as checkpoint:
            assert checkpoint.optimizer is None


def _external(group):
    group["13"] = h5py.ExternalLink("/etc/hostname", "/")


def _soft(group):
    del group["Adam/conv1/kernel/m:0"]
    group["Adam/conv1/kernel/m:0"] = h5py.SoftLink("/model_weights/conv1/conv1/kernel:0")


def _bomb(group):
    group.create_dataset("12", shape=(2**29,), dtype="f8", chunks=(2**20,), compression="gzip")


def _virtual(group):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    group.create_virtual_dataset("12", layout)


def _no_numbers(group):
    group["12"] = np.bytes_("text")


@pytest.mark.parametrize(
    ("make", "plant", "message"),
    [
        (legacy, lambda group: group.attrs.pop("weight_names"), "lacks the attribute 'weight_names'"),
        (
            legacy,
            lambda group: group.attrs.__setitem__("weight_names", [b"iter:0"] * 2),
            "two variables have the same name",
        ),
        (
            legacy,
            lambda group: group.attrs.__setitem__("weight_names", [b"gone:0"]),
            "the file names it, but does not hold",
        ),
        (
            legacy,
            lambda group: group.attrs.__setitem__("weight_names", [b"../model_weights/conv1"]),
            "not a name that Keras",
        ),
        (legacy, lambda group: group.attrs.__setitem__("weight_names", [b"Adam"]), "a group. Expected an array"),
        (legacy, _soft, "a link to elsewhere"),
        (keras3, _external, "a link to elsewhere"),
        (keras3, _bomb, "asks for 4294967296 bytes|pieces"),
        (keras3, _virtual, "stored elsewhere"),
        (keras3, _no_numbers, "not numbers that NumPy knows"),
        (keras3, lambda group: group.move("3", "30"), "variable 3 is missing"),
        (keras3, lambda group: group.move("3", "x"), "vars/x': not a number"),
        (keras3, lambda group: group.move("3", "³"), "not a number"),
    ],
)
def test_hostile_files(make, plant, message, tmp_path):
    with read_checkpoint(make(tmp_path / "a.h5", plant)) as checkpoint:
        name, array = next(iter(checkpoint.arrays.items()))
        assert array.read().size == 6, name  # the weights are read as ever
        with pytest.raises(CheckpointError, match=message):
            _ = checkpoint.optimizer
