"""A port against Keras: every depth, kernel, input, head and dialect at 1e-12 in float64, and back bit for bit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import keras_loading
import keras_resnets
import keras_training_facts
import numpy as np
import pytest
import torch
from sweeps import slow_but

from weight_transfer import Head, Hints, Row, Verification, VerificationError, convert, export, read_checkpoint, verify
from weight_transfer.architecture import DEPTHS, standard_filters
from weight_transfer.conversion.candidates import without_nesting
from weight_transfer.parity.tolerances import TOLERANCES

pytestmark = pytest.mark.keras

SMALL = {"stem_filters": 8, "block_counts": (2, 2), "filters": ((8, 8, 32), (16, 16, 64))}


def narrow(depth: int) -> dict[str, Any]:
    """Every layer of a depth, an eighth as wide."""
    block, counts = DEPTHS[depth]
    return {"depth": depth, "stem_filters": 8, "filters": standard_filters(block, len(counts), 8)}


NETWORKS = {
    "depth 18": {"in_shape": (64, 64, 3), **narrow(18)},
    "depth 34": {"in_shape": (64, 64, 3), **narrow(34)},
    "depth 50": {"in_shape": (64, 64, 3), **narrow(50)},
    "depth 152": {"in_shape": (64, 64, 3), **narrow(152)},
    "kernel 5": {"in_shape": (64, 64, 3), "middle_kernel_size": 5, **SMALL},
    "kernel 3x5": {"in_shape": (64, 64, 3), "middle_kernel_size": (3, 5), **SMALL},
    "49x97x1": {"in_shape": (49, 97, 1), **narrow(50)},
    "any size": {"in_shape": (None, None, 3), **SMALL},
    "4 channels": {"in_shape": (64, 48, 4), **SMALL},
    "imagenet head": {"in_shape": (64, 64, 3), "head": Head(classes=7), **SMALL},
    "one class": {"in_shape": (64, 64, 3), "n_classes": 1, **SMALL},
    "linear head": {"in_shape": (64, 64, 3), "head": Head(classes=7, activation="linear"), **SMALL},
    "max pooled head": {"in_shape": (64, 64, 3), "head": Head(pooling="max", classes=7), **SMALL},
    "no head": {"in_shape": (64, 64, 3), "n_classes": None, **SMALL},
    "no head, pooled": {"in_shape": (64, 64, 3), "head": Head(pooling="avg", classes=None), **SMALL},
    "stride in the 3x3": {"in_shape": (65, 64, 3), "stride_in": "3x3", **SMALL},
    "no conv bias": {"in_shape": (65, 64, 3), "conv_bias": False, **SMALL},
    "keras-2.1": {"in_shape": (64, 65, 3), "dialect": "keras-2.1", **SMALL},
    "keras-2.2": {"in_shape": (64, 65, 3), "dialect": "keras-2.2", **SMALL},
    "keras-resnet": {"in_shape": (64, 65, 3), "dialect": "keras-resnet", **SMALL},
    "keras-resnet 18": {"in_shape": (65, 64, 3), "dialect": "keras-resnet", **narrow(18)},
    "mask-rcnn": {"in_shape": (64, 65, 3), "dialect": "mask-rcnn", "n_classes": None, **SMALL},
    "caffe": {"in_shape": (64, 65, 3), "dialect": "caffe", **SMALL},
}


def assert_equal(found: Verification) -> None:
    assert found.passed, [row for row in found.rows if not row.passed]
    assert found.worst("float64").errors["float64"] <= TOLERANCES["inference"]["float64"].error
    assert found.weights_equal == found.weights_total > 0


USUAL = ("depth 18", "4 channels", "no head", "stride in the 3x3", "keras-2.1")  # a representative of each difference


@pytest.mark.parametrize("name", slow_but(USUAL, NETWORKS))
def test_port_computes_what_keras_computes_and_goes_back_bit_for_bit(name, tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", **NETWORKS[name])
    port = tmp_path / "resnet.safetensors"
    hints = Hints(dialect=NETWORKS[name].get("dialect"))
    conversion = convert(source, port, hints)
    training = NETWORKS[name].get("depth", 0) < 101  # a training step of the deepest is no other, and takes long
    found = verify(source, port, hints, training=training, runner=runner)
    assert_equal(found)
    assert found.reference == "file"
    # Every layer that has a module, and the output; pads and additions have none.
    named = [path for path, modules in conversion.network.layout.items() if modules]
    assert len(list(found.of("inference"))) == len(named) + 1
    if training:
        assert len(list(found.of("training"))) == len(named) + 1
        assert len(list(found.of("gradient"))) + len(list(found.of("statistics"))) == found.weights_total
    assert_keras_loads_it_back(source, port, tmp_path, keras_side)


def test_a_port_without_what_acts_in_training_alone_differs(tmp_path, keras_side, runner):
    """Dropout, noise and a penalty change no prediction, and no array; a port without them trains another network."""
    with_facts, without = keras_side(keras_training_facts.written, tmp_path)
    port = convert(without, tmp_path / "port.safetensors").output
    assert_equal(verify(without, port, runner=runner))
    found = verify(with_facts, port, runner=runner)
    assert not found.passed
    assert found.weights_equal == found.weights_total
    said = {(one.layer, one.field): (one.expected, one.actual) for one in found.fields_differing}
    assert said["drop", "rate"] == ("0.5", "nothing")
    assert said["noise", "stddev"] == ("1.0", "nothing")
    assert said["c1", "kernel_regularizer"][1] == "nothing"
    assert {layer for layer, _ in said} == {"drop", "noise", "c1", "relu", "add", "out"}  # and who reads whom


def assert_keras_loads_it_back(source: Path, port: Path, folder: Path, keras_side) -> None:
    with read_checkpoint(source) as checkpoint:
        expected = {name: array.read() for name, array in without_nesting(checkpoint).items()}
    model = export(port, folder / "back.h5")
    archive = export(port, folder / "back.keras")
    weights = export(port, folder / "back.weights.h5")
    for actual in (
        keras_side(keras_loading.loaded_model, model),
        keras_side(keras_loading.loaded_model, archive),
        keras_side(loaded_into, weights, archive),
    ):
        assert actual.keys() == expected.keys()
        for array, value in expected.items():
            np.testing.assert_array_equal(actual[array], value, err_msg=array)


def loaded_into(path: Path, model_path: Path) -> dict[str, np.ndarray]:
    """Weights of the archive's model once Keras has zeroed it and loaded the file into it."""
    import keras

    model = keras.saving.load_model(model_path)
    model.set_weights([np.zeros_like(value) for value in model.get_weights()])
    model.load_weights(path)
    return keras_loading._weights(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_arrays", "include_top"),
    [("ResNet50", 320, True), ("ResNet50", 320, False), ("ResNet152", 932, True)],
)
def test_keras_applications(name, num_arrays, include_top, tmp_path, keras_side, runner):
    arguments = {"input_shape": (224, 224, 3)} if name == "ResNet50" else {"input_shape": (64, 64, 3)}
    source = keras_side(keras_resnets.application, tmp_path / "model.keras", name, include_top=include_top, **arguments)
    found = verify(source, training=name == "ResNet50", runner=runner)
    assert_equal(found)
    assert found.weights_total == num_arrays - (0 if include_top else 2)


@pytest.mark.slow
def test_weights_only_file_is_compared_with_the_twin_and_says_so(tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.application, tmp_path / "weights.h5", "ResNet50", input_shape=(64, 64, 3))
    found = verify(source, hints=Hints(in_shape=(64, 64)), runner=runner)
    assert_equal(found)
    assert found.reference == "twin"
    assert "twin" in found.loaded_by
    assert any(line.startswith("epsilon 1.001e-05") for line in found.assumed)


def test_nested_backbone_with_frozen_layers(tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.nested_application, tmp_path / "nested.h5", (64, 64, 3), num_frozen=20)
    found = verify(source, runner=runner)
    assert_equal(found)
    assert found.weights_total == 318 + 4


@pytest.mark.parametrize("dialect", slow_but(["keras-2.2"], ("keras-2.2", "keras-2.1", "mask-rcnn")))
def test_real_imagenet_stem_and_stage_2(dialect, shared_data, tmp_path, runner):
    """Trained weights, three possible conventions: whichever is meant, the port computes it."""
    source = shared_data / "wild" / "resnet50_notop_imagenet_stem_stage2.h5"
    found = verify(source, hints=Hints(dialect=dialect, in_shape=(224, 224)), runner=runner)
    assert_equal(found)
    assert found.weights_total == 66


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_device(device, tmp_path, keras_side, runner):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", in_shape=(65, 64, 3), **SMALL)
    found = verify(source, devices=(device,), runner=runner)
    assert_equal(found)
    assert {row.device for row in found.rows} == {device}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_nothing_compared_is_no_pass(tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", in_shape=(33, 33, 3), **SMALL)
    with pytest.raises(VerificationError, match="no device that was asked for is there"):
        verify(source, devices=("cuda",), runner=runner)


def test_an_all_zero_reference_proves_nothing():
    report = _report()
    assert (report.verdict, report.passed) == ("EQUAL", True)
    (row,) = report.rows
    silent = dataclasses.replace(report, rows=(dataclasses.replace(row, peak=0.0),))
    assert (silent.verdict, silent.passed, silent.unproven) == ("NOT PROVEN", False, silent.rows)
    shown_otherwise = dataclasses.replace(row, check="exact", limits={"float64": 0.0})
    proven = dataclasses.replace(silent, rows=(*silent.rows, shown_otherwise))
    assert (proven.verdict, proven.unproven) == ("SAME FUNCTION", ())
    # A number where Keras gives zero is a difference, whatever else is known.
    other = dataclasses.replace(silent, rows=(dataclasses.replace(row, peak=0.0, errors={"float64": math.inf}),))
    assert other.verdict == "DIFFERS"


def _report() -> Verification:
    row = Row("inference", "res2a_relu", "cpu", (1, 2, 2, 4), 1.0, {"float64": 0.0}, {"float64": 1e-12})
    return Verification(
        title="ResNet-50",
        source="a.h5",
        source_sha256="",
        reference="file",
        loaded_by="keras",
        recorded="",
        detail="",
        converted="b.safetensors",
        converted_sha256="",
        port_digest="",
        inputs=(),
        rows=(row,),
        weights_equal=1,
        weights_total=1,
        weights_differing=(),
        assumed=(),
        environment={},
    )
