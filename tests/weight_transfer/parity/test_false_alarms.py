"""Correct ports of many kinds of network against compact recordings: not one row may fail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkpoints
import keras_resnets
import keras_zoo
import pytest
from sweeps import slow_but

from weight_transfer import Head, Hints, read_checkpoint, verify
from weight_transfer.architecture import DEPTHS, standard_filters
from weight_transfer.conversion.candidates import without_nesting
from weight_transfer.parity.reference import record
from weight_transfer.parity.sketch import COMPACT

pytestmark = pytest.mark.keras

GRAPH = Hints(import_as="graph")
SMALL: Mapping[str, Any] = {"block_counts": (1, 2), "stem_filters": 8, "filters": ((8, 8, 32), (12, 12, 48))}


def narrow(depth: int) -> dict[str, Any]:
    """A whole ResNet, a few channels wide."""
    block, block_counts = DEPTHS[depth]
    return {"depth": depth, "stem_filters": 4, "filters": standard_filters(block, len(block_counts), 4)}


TWINS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "depth 18": (".h5", {"in_shape": (64, 64, 3), **narrow(18)}),
    "depth 34, keras-resnet": (".keras", {"in_shape": (65, 64, 3), "dialect": "keras-resnet", **narrow(34)}),
    "depth 50, keras-applications": (".h5", {"in_shape": (64, 65, 3), "dialect": "keras-applications", **narrow(50)}),
    "keras-2.1, another seed": (".h5", {"in_shape": (64, 65, 3), "dialect": "keras-2.1", "seed": 1, **SMALL}),
    "keras-2.2, grey and oblong": (".h5", {"in_shape": (97, 33, 1), "dialect": "keras-2.2", "seed": 2, **SMALL}),
    "mask-rcnn, no head": (".keras", {"in_shape": (65, 65, 3), "dialect": "mask-rcnn", "n_classes": None, **SMALL}),
    "caffe, another seed": (".h5", {"in_shape": (64, 65, 3), "dialect": "caffe", "seed": 3, **SMALL}),
    "any size, stride in the 3x3": (".h5", {"in_shape": (None, None, 3), "stride_in": "3x3", **SMALL}),
    "max pooled, linear": (
        ".keras",
        {"in_shape": (48, 64, 4), "head": Head(pooling="max", classes=7, activation="linear"), **SMALL},
    ),
    "float64": (".keras", {"in_shape": (64, 64, 3), "dtype": "float64", **SMALL}),
    "float16": (".h5", {"in_shape": (64, 64, 3), "dtype": "float16", **SMALL}),
}
ZOO = {
    "sequential": "keras",
    "1-D": "tf_keras",
    "1-D, flatten head": "keras",
    "3-D": "keras",
    "pre-activation": "tf_keras",
    "squeeze excite": "keras",
    "separable": "tf_keras",
    "fused activations": "keras",
    "other norms": "keras",
}


def assert_no_alarm(source: Path, folder: Path, hints: Hints | None = None, *, runner) -> None:
    reference = folder / "reference.safetensors"
    assert record(source, reference, hints, runner=runner).detail == COMPACT
    found = verify(source, hints=hints, devices=("cpu",), reference=reference, runner=runner)
    assert not [row for row in found.rows if not row.passed]
    assert found.passed
    assert found.explanation is None
    assert {row.check for row in found.rows} >= {"inference", "training", "loss", "gradient"}


@pytest.mark.parametrize("name", slow_but(("depth 18", "any size, stride in the 3x3"), TWINS))
def test_native(name, tmp_path, keras_side, runner):
    suffix, arguments = TWINS[name]
    source = keras_side(keras_resnets.twin, tmp_path / f"resnet{suffix}", **arguments)
    with read_checkpoint(source) as checkpoint:
        assert {array.dtype.name for array in checkpoint.arrays.values()} == {arguments.get("dtype", "float32")}
    # In its sizes two dialects differ by no more than how images are prepared.
    assert_no_alarm(
        source, tmp_path, Hints(dialect="mask-rcnn") if name.startswith("mask-rcnn") else None, runner=runner
    )


@pytest.mark.parametrize("dtype", slow_but(["float64"], ["float16", "float32", "float64"]))
def test_weights_alone(dtype, tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", in_shape=(64, 64, 3), **SMALL)
    with read_checkpoint(source) as checkpoint:
        arrays = {name: array.read().astype(dtype) for name, array in without_nesting(checkpoint).items()}
    if dtype == "float64":  # digits that float32 does not hold
        arrays = {name: array * (1 + 1e-10) for name, array in arrays.items()}
    weights = checkpoints.legacy_weights(tmp_path / "weights.h5", arrays)
    assert_no_alarm(weights, tmp_path, Hints(in_shape=(64, 64)), runner=runner)


@pytest.mark.parametrize("name", slow_but(("1-D", "squeeze excite"), ZOO))
def test_imported(name, tmp_path, keras_side, runner):
    source = keras_side(keras_zoo.save, tmp_path / "model.keras", ZOO[name], name)
    assert_no_alarm(source, tmp_path, GRAPH, runner=runner)


def test_resnet_imported_as_a_graph(tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", in_shape=(64, 65, 3), **SMALL)
    assert_no_alarm(source, tmp_path, GRAPH, runner=runner)
