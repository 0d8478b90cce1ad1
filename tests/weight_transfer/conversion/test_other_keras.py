"""From one Keras to the other by way of a port: the other loads the file, predicts the same and trains on."""

from __future__ import annotations

from pathlib import Path

import keras_way_back
import numpy as np
import pytest
from keras_layers import LIBRARIES
from keras_schemas import OTHER, SCHEMAS
from sweeps import slow_but

from weight_transfer import TransferError, convert, export
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.keras_schema import compiled_in_schema

IN_FLOAT16 = 5e-3  # what it rounds: the two Kerases round at other places
TOLERANCES = {"mixed": IN_FLOAT16}
USUAL = ("nested", "own head")
CASES = [
    pytest.param(library, name, marks=() if name in USUAL else pytest.mark.slow)
    for library in LIBRARIES
    for name in keras_way_back.MODELS
]


@pytest.fixture(scope="module")
def saved(keras_side, tmp_path_factory):
    """Networks in a .keras file of either Keras, each saved once, and their ports."""
    folder, known = tmp_path_factory.mktemp("networks"), {}

    def of(library: str, name: str) -> tuple[Path, Path]:
        if (library, name) not in known:
            source, _ = keras_side(keras_way_back.saved, library, name, folder)
            port = source.with_suffix(".safetensors")
            convert(source, port, with_optimizer=True)
            known[library, name] = source, port
        return known[library, name]

    return of


@pytest.mark.parametrize(("library", "name"), CASES)
def test_the_other_keras_predicts_the_same(library, name, saved, tmp_path, keras_side):
    source, port = saved(library, name)
    schema = SCHEMAS[OTHER[library]]
    files = [export(port, tmp_path / f"back{ending}", schema=schema) for ending in (".keras", ".h5")]
    (expected,) = keras_side(keras_way_back.predicted, library, name, [source])
    for found in keras_side(keras_way_back.predicted, OTHER[library], name, files):
        for y, wanted in zip(found, expected, strict=True):
            assert np.abs(y - wanted).max() <= TOLERANCES.get(name, 1e-5) * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["own head", pytest.param("shared", marks=pytest.mark.slow)])
@pytest.mark.parametrize("library", slow_but(["keras"], LIBRARIES))
def test_the_other_keras_trains_on(library, name, saved, tmp_path, keras_side):
    """With the optimizer's state, where the other Keras restores one; nothing in these networks is random."""
    source, port = saved(library, name)
    endings = (".keras", ".h5") if library == "keras" else (".keras",)
    files = [
        export(port, tmp_path / f"back{ending}", schema=SCHEMAS[OTHER[library]], with_optimizer=True)
        for ending in endings
    ]
    (expected,) = keras_side(keras_way_back.steps, library, name, [source])
    for found in keras_side(keras_way_back.steps, OTHER[library], name, files):
        assert found["iterations"] == expected["iterations"]
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)


def test_there_and_back_again_says_what_the_first_file_said(saved, tmp_path, keras_side):
    source, port = saved("keras", "nested")
    there = export(port, tmp_path / "there.h5", schema="keras2")
    convert(there, tmp_path / "there.safetensors")
    back = export(tmp_path / "there.safetensors", tmp_path / "back.keras", schema="keras3")
    first, last = keras_side(keras_way_back.predicted, "keras", "nested", [source, back])
    assert all(np.array_equal(*pair) for pair in zip(first, last, strict=True))
    with read_checkpoint(source) as one, read_checkpoint(back) as other:
        for name, array in one.arrays.items():
            assert array.shape == other.arrays[name].shape
            assert np.array_equal(one[name], other[name])


CASES_OF_LOSSES = [
    ("mse", "mse"),
    ("Custom>categorical_crossentropy", "categorical_crossentropy"),
    ({"a": "mae", "b": None}, {"a": "mae", "b": None}),
    (["mae", {"class_name": "function", "config": "huber", "module": "builtins"}], ["mae", "huber"]),
]


@pytest.mark.parametrize(("loss", "expected"), CASES_OF_LOSSES)
def test_losses_by_their_names(loss, expected):
    assert compiled_in_schema({"loss": loss}, "keras3", container=".keras")["loss"] == expected


def test_a_loss_with_arguments_and_an_optimizer_of_the_other_generation():
    smoothed = {"reduction": "auto", "name": "loss", "label_smoothing": 0.1, "fn": "categorical_crossentropy"}
    entropy = {"class_name": "CategoricalCrossentropy", "config": smoothed}
    schedule = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 10}}
    arguments = {"learning_rate": schedule, "jit_compile": True, "momentum": 0.9}
    optimizer = {"class_name": "Custom>SGD", "config": arguments}
    wrapped = {"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "x"}}
    measured = [["accuracy", wrapped, {"class_name": "Mine"}]]
    said = {"optimizer_config": optimizer, "loss": entropy, "metrics": measured, "jit_compile": True}
    found = compiled_in_schema(said, "keras3", container=".keras")
    assert found["optimizer"]["module"] == "keras.optimizers"
    assert found["optimizer"]["config"]["momentum"] == 0.9
    assert "jit_compile" not in found["optimizer"]["config"]
    assert found["optimizer"]["config"]["learning_rate"]["module"] == "keras.optimizers.schedules"
    assert found["loss"]["config"] == {"reduction": "sum_over_batch_size", "name": "loss", "label_smoothing": 0.1}
    assert found["metrics"] == [["accuracy", "acc"]]
    back = compiled_in_schema(found, "keras2", container=".h5")
    assert back["optimizer_config"]["class_name"] == "Custom>SGD"
    assert back["optimizer_config"]["config"]["jit_compile"] is False


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"loss": "my_loss"}, r"the loss 'my_loss' is not known to be the same in Keras 2"),
        ({"loss": {"class_name": "Huber", "config": {"reduction": "mean"}}}, "reduction='mean'"),
        ({"optimizer": {"class_name": "Lion", "config": {}}}, "No optimizer 'Lion'"),
        ({"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.1, "decay": 0.5, "name": "a"}}}, "decay"),
    ],
)
def test_what_the_other_cannot_compile_a_model_with(said, message):
    with pytest.raises(TransferError, match=message):
        compiled_in_schema(said, "keras2", container=".h5")


def test_a_file_of_a_loss_of_one_s_own_is_not_compiled_elsewhere(saved, tmp_path, monkeypatch):
    from weight_transfer.conversion import keras_model

    def refuse(*said: object, **more: object) -> None:
        raise TransferError("the loss 'mine' is not known")

    monkeypatch.setattr(keras_model, "compiled_in_schema", refuse)
    _, port = saved("keras", "nested")
    with pytest.warns(UserWarning, match="does not say how the model is compiled: the loss 'mine'"):
        export(port, tmp_path / "back.keras", schema="keras2")
