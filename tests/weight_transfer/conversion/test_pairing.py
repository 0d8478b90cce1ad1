"""Weights beside a model's description: the messages, on files made without Keras."""

from __future__ import annotations

import json

import checkpoints
import h5py
import numpy as np
import pytest

from weight_transfer import ArchitectureError, Hints, MappingError, identify, read_checkpoint
from weight_transfer.families.builder import Builder


def described(path, *, strides=1, activation=True):
    """Writes a description of two convolutions with an activation between, and returns its path."""
    net = Builder()
    x = net.conv(net.input((8, 8, 2)), 2, 1)
    x = net.conv(net.relu(x) if activation else x, 2, 1, strides)
    path.write_text(json.dumps(net.model(x)))
    return path


def weights(path, *names, listed=(), width=2):
    """Writes convolutions of these names, and lists them among others."""
    arrays = {
        f"{name}/{role}": np.full((1, 1, 2, width) if role == "kernel" else (width,), number, "float32")
        for number, name in enumerate(names)
        for role in ("kernel", "bias")
    }
    checkpoints.legacy_weights(path, arrays)
    if listed:
        with h5py.File(path, "r+") as file:
            file.attrs["layer_names"] = [name.encode() for name in listed]
            for name in set(listed) - {name.partition("/")[0] for name in names}:
                file.create_group(name).attrs["weight_names"] = np.array([], "S1")
    return path


def found(path, **hints):
    with read_checkpoint(path) as checkpoint:
        return identify(checkpoint, Hints(**hints))


def number_in(path, name, **hints):
    with read_checkpoint(path) as checkpoint:
        return identify(checkpoint, Hints(**hints)).arrays[name].read().max()


def test_names_of_other_counters_are_paired_by_order_and_said(tmp_path):
    config = described(tmp_path / "m.json")
    path = weights(tmp_path / "w.h5", "left", "right")
    one = found(path, config=config)
    assert [number_in(path, f"{name}/kernel", config=config) for name in ("conv2d", "conv2d_1")] == [0, 1]
    assert "arrays paired by the order of the layers, as Keras's load_weights does: their names are others" in (
        one.assumed
    )
    assert any("the file lists only those with arrays" in line for line in one.assumed)


def test_order_against_names_is_asked_about_and_decided_by_a_flag(tmp_path):
    config, path = described(tmp_path / "m.json"), weights(tmp_path / "w.h5", "conv2d_1", "conv2d")
    with pytest.raises(ArchitectureError) as error:
        found(path, config=config)
    assert "pair 4 arrays with the model's in two ways, and both fit" in str(error.value)
    assert "conv2d/kernel: by order conv2d_1/kernel, by name conv2d/kernel" in str(error.value)
    assert "--pair-by order (as Keras's load_weights does) or --pair-by name" in str(error.value)
    by_order, by_name = (found(path, config=config, pair_by=way) for way in ("order", "name"))
    numbers = [number_in(path, "conv2d/kernel", config=config, pair_by=way) for way in ("order", "name")]
    assert numbers == [0, 1]
    assert "arrays paired by the order of the layers (you said so)" in by_order.assumed
    assert "arrays paired by the names of the layers (you said so)" in by_name.assumed


def test_an_order_that_does_not_fit(tmp_path):
    config = described(tmp_path / "m.json")
    with pytest.raises(MappingError, match=r"in the order of its layers its arrays are not those of model 'model'"):
        found(weights(tmp_path / "w.h5", "a", "b", "c"), config=config, pair_by="order")
    with pytest.raises(MappingError, match=r"not the weights of model 'model'"):
        found(weights(tmp_path / "v.h5", "a", "b", width=3), config=config)


def test_a_flag_about_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ArchitectureError, match="--pair-by is about a model beside the weights"):
        found(weights(tmp_path / "w.h5", "a"), pair_by="order")


def test_a_list_that_is_another_models(tmp_path):
    config = described(tmp_path / "m.json")
    layers = ["input_1", "conv2d", "activation", "conv2d_1"]
    names = ("conv2d", "conv2d_1")
    assert found(weights(tmp_path / "a.h5", *names, listed=layers), config=config).network.name == "model"
    for number, (listed, line) in enumerate(
        [
            (["input_1", "conv2d", "elu", "conv2d_1"], "ELU: the file lists 1 (elu), the network has none"),
            (["input_1", "conv2d", "conv2d_1"], "Activation: the file lists none, the network has 1"),
            ([*layers, "activation_1"], "Activation: the file lists 2 (activation to activation_1)"),
            (["input_1", "activation", "conv2d", "conv2d_1"], "activation stands where the network has Conv2D"),
        ]
    ):
        with pytest.raises(ArchitectureError) as error:
            found(weights(tmp_path / f"b{number}.h5", *names, listed=listed), config=config)
        assert "lists other layers than the model 'model' that is described beside it has" in str(error.value)
        assert line in str(error.value)


def test_what_acts_in_training_alone_is_said(tmp_path):
    config = described(tmp_path / "m.json")
    listed = ["input_1", "conv2d", "activation", "dropout", "conv2d_1"]
    one = found(weights(tmp_path / "a.h5", "conv2d", "conv2d_1", listed=listed), config=config)
    assert "left out, as they act in training alone: dropout" in one.assumed


@pytest.mark.parametrize(
    ("listed", "around"),
    [
        (["input_1", "lambda_1", "lambda_2", "model_1", "predictions"], ""),  # Keras 2's multi_gpu_model
        (["input_1", "lambda_1", "model_1"], "; input_1, lambda_1 around it is no part of the port"),
    ],
)
def test_the_model_inside_may_be_described_alone(listed, around, tmp_path):
    config = described(tmp_path / "m.json")
    path = weights(tmp_path / "w.h5", "model_1/conv2d", "model_1/conv2d_1", listed=listed)
    assert number_in(path, "conv2d_1/kernel", config=config) == 1
    said = f"the layers without arrays of model_1: as described, the file lists none{around}"
    assert said in found(path, config=config).assumed
