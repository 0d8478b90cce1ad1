"""On a CPU, networks of every kind are proven: those that TensorFlow has no float64 kernels for, and odd ones."""

from __future__ import annotations

from pathlib import Path

import keras_everywhere
import numpy as np
import pytest
import torch

from resnet_torch import load_model
from resnet_torch.saving import save_converted
from resnet_torch.testing import assert_parity
from weight_transfer import Hints, Verification, convert, verify

pytestmark = pytest.mark.keras

GRAPH = Hints(import_as="graph")
CASES = [
    ("channels first", "keras"),
    ("channels first", "tf_keras"),
    ("channels first, any size", "keras"),
    ("pools of volumes", "tf_keras"),
    ("bilinear", "keras"),
    ("bilinear", "tf_keras"),
    ("fresh statistics", "keras"),
    ("fresh statistics", "tf_keras"),
    ("no parameters", "keras"),
    ("shared last layer", "keras"),
    ("whole numbers", "keras"),
]


SUFFIXES = {"keras": "keras", "tf_keras": "h5"}


@pytest.fixture
def verified(keras_side, runner, tmp_path):
    def run(name: str, family: str, port: Path | None = None) -> Verification:
        source = keras_side(keras_everywhere.save, tmp_path / f"model.{SUFFIXES[family]}", family, name)
        return verify(source, port, hints=GRAPH, devices=("cpu",), runner=runner)

    return run


@pytest.mark.parametrize(("name", "family"), CASES)
def test_same_function(name, family, verified):
    found = verified(name, family)
    assert found.verdict == "SAME FUNCTION", [row for row in found.rows if not row.passed] or found.unproven
    assert {row.check for row in found.rows} >= {"exact", "local output", "inference", "training", "loss"}
    inexact = set(found.inexact)
    assert inexact <= {row.name for row in found.of("exact")}
    if name == "bilinear":  # a third is no number of float64
        assert {"tripled"} <= inexact
        assert "doubled" not in inexact
    if name == "shared last layer":  # its last call is compared before the softmax too
        assert inexact == {"shared", "shared#2"}
    if name == "channels first, any size":
        assert found.sizes == ("224x224", "97x225", "1x1")


@pytest.mark.parametrize(
    ("name", "array"),
    [("channels first", "weight"), ("pools of volumes", "bias"), ("fresh statistics", "running_mean")],
)
def test_a_wrong_array_is_seen(name, array, keras_side, verified, tmp_path):
    source = keras_side(keras_everywhere.save, tmp_path / "right.keras", "keras", name)
    port = tmp_path / "port.safetensors"
    convert(source, port, GRAPH)
    model = load_model(port)
    key = next(key for key in model.state_dict() if key.endswith(array))
    with torch.no_grad():
        model.state_dict()[key].view(-1)[0] += 1e-6
    save_converted(model, port)
    found = verified(name, "keras", port)
    assert found.verdict == "DIFFERS"
    assert found.weights_differing
    assert any(row.differs for row in found.rows)


def test_a_moving_mean_of_nothing_is_measured_by_what_was_averaged(verified):
    rows = {row.name: row for row in verified("fresh statistics", "keras").of("statistics")}
    mean, variance = rows["behind/moving_mean"], rows["behind/moving_variance"]
    assert 1e-4 < mean.peak < variance.peak
    assert mean.errors["float64"] > 0


def test_keras_3_adds_a_bias_along_the_width_where_that_is_as_long_as_the_channels(verified):
    """Keras 3 on TensorFlow computes something else than the file says, and the report names it."""
    found = verified("as wide as it has channels", "keras")
    assert found.verdict == "DIFFERS"
    assert found.explanation.layer == "conv"
    assert found.explanation.found.text == "its bias added along the width"
    assert verified("as wide as it has channels", "tf_keras").verdict == "SAME FUNCTION"


def test_a_channels_first_model_is_compared_with_a_module_of_ones_own(keras_side, runner, tmp_path):
    source = keras_side(keras_everywhere.save, tmp_path / "model.keras", "keras", "channels first")
    own = torch.nn.Sequential()
    own.add_module("net", load_model(source, GRAPH))
    images = np.random.default_rng(0).normal(size=(2, 3, 9, 7)).astype("float32")
    assert assert_parity(own, source, images, runner=runner)
    with torch.no_grad():
        own.net.conv2d.weight[0, 0, 0, 0] += 1e-3
    with pytest.raises(AssertionError):
        assert_parity(own, source, images, runner=runner)
