"""`assert_parity`, as somebody uses it who wrote a port by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_own
import numpy as np
import pytest
import torch
from own_port import NAMES, Port, Predicting
from torch import nn

from resnet_torch import load_model
from resnet_torch.testing import ParityError, assert_parity
from weight_transfer import CheckpointError, Hints, VerificationError, convert
from weight_transfer.parity.reference import record

INPUTS = np.random.default_rng(0).normal(size=(3, *keras_own.IN_SHAPE))
CHECKS = ["inference", "training", "loss", "gradient", "statistics"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, keras_side, runner) -> Path:
    """``model.keras`` and its recording."""
    folder = tmp_path_factory.mktemp("own")
    keras_side(keras_own.save, folder / "model.keras")
    record(folder / "model.keras", folder / "reference.safetensors", Hints(import_as="graph"), runner=runner)
    return folder


@pytest.fixture
def port(folder) -> Callable[..., Port]:
    return lambda **mistake: Port(folder / "model.keras", **mistake).eval()


@pytest.fixture
def reference(folder) -> Path:
    return folder / "reference.safetensors"


def failure(*arguments: Any, **named: Any) -> ParityError:
    with pytest.raises(ParityError) as caught:
        assert_parity(*arguments, **named)
    return caught.value


def test_a_right_port_passes_against_a_recording(port, reference):
    rows = assert_parity(port(), reference, names=NAMES).rows
    assert [row.name for row in rows] == ["conv_a", "bn_a", "act", "fc"]
    assert all(row.passed for row in rows)
    assert {row.device for row in rows} == {"cpu"}


def test_a_training_step_on_request(port, reference):
    rows = assert_parity(port(), reference, names=NAMES, training=True).rows
    assert list(dict.fromkeys(row.check for row in rows)) == CHECKS
    assert {row.name for row in rows if row.check == "gradient"} >= {"conv_a/kernel", "bn_a/gamma", "fc/kernel"}
    assert {row.name for row in rows if row.check == "statistics"} == {"bn_a/moving_mean", "bn_a/moving_variance"}


def test_the_module_stays_as_it_was(port, reference):
    model = port()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert_parity(model, reference, names=NAMES, training=True)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


def test_a_loaded_port_needs_no_names(folder, reference):
    convert(folder / "model.keras", folder / "port.safetensors", Hints(import_as="graph"))
    rows = assert_parity(load_model(folder / "port.safetensors"), reference, training=True).rows
    assert list(dict.fromkeys(row.check for row in rows)) == CHECKS


def test_a_model_under_another_modules_roof(port, reference):
    model = nn.Sequential()
    model.add_module("port", port())
    assert_parity(model.eval(), reference, names={"bn_a": "port.norm"})


MISTAKES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "epsilon": (
        {"epsilon": 1e-5},
        "bn_a (BatchNorm2d) is the first that differs",
        "epsilon 0.001 in place of 1e-05",
        "epsilon",
    ),
    "padding": (
        {"padding": (1, 0, 1, 0)},
        "conv_a (Conv2d) is the first that differs",
        "padding (0, 1) x (0, 1)",
        "padding",
    ),
    "flatten order": (
        {"channels_flattened_last": False},
        "fc (Linear) is the first that differs",
        "its 1152 inputs in the order of 12 x 12 x 8",
        "flatten order",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_layer(name, port, reference):
    mistake, layer, text, cause = MISTAKES[name]
    error = failure(port(**mistake), reference, names=NAMES)
    assert layer in str(error)
    assert text in str(error)
    assert str(error).startswith("Port differs from model.keras (keras 3")
    assert "compared only as part of what follows: flat" in str(error)
    assert (error.explanation.found.cause if error.explanation.found else "") == cause


def test_a_mistake_is_named_against_a_keras_file_too(port, folder, runner):
    error = failure(port(channels_flattened_last=False), folder / "model.keras", INPUTS, names=NAMES, runner=runner)
    assert "fc (Linear) is the first that differs" in str(error)
    assert "its 1152 inputs in the order of 12 x 12 x 8" in str(error)
    assert "permute (0, 2, 3, 1) before flattening" in str(error)


def test_training_mode_is_named(port, reference):
    error = failure(port().train(), reference, names=NAMES)
    assert "bn_a (BatchNorm2d) is the first that differs" in str(error)
    assert "it was in training mode" in str(error)
    assert "Call model.eval() before inference" in str(error)


def test_a_momentum_shows_in_a_training_step_alone(port, reference):
    model = port(momentum=0.1)
    assert_parity(model, reference, names=NAMES)
    error = failure(model, reference, names=NAMES, training=True)
    assert "bn_a/moving_mean (BatchNorm2d) is the first that differs" in str(error)
    assert "momentum 0.01 in place of 0.1" in str(error)
    assert {row.name for row in error.rows if not row.passed} == {"bn_a/moving_mean", "bn_a/moving_variance"}


def test_pytorchs_own_batch_norm_learns_another_variance(port, reference):
    model = port(own_rules=False)
    assert_parity(model, reference, names=NAMES)
    error = failure(model, reference, names=NAMES, training=True)
    assert "bn_a/moving_variance (BatchNorm2d) is the first that differs" in str(error)
    assert "the rule of keras3: the biased variance of the batch" in str(error)
    assert "resnet_torch.BatchNorm2d has both rules" in str(error)


def test_a_parameter_that_does_not_learn_is_named(port, reference):
    model = port()
    model.conv_a.weight.requires_grad_(False)
    error = failure(model, reference, names=NAMES, training=True)
    assert "conv_a/kernel (Conv2d) is the first that differs" in str(error)
    assert "requires_grad of conv_a.weight, which is False" in str(error)


def test_a_softmax_of_the_modules_own(folder, reference, runner):
    model = Predicting(folder / "model.keras").eval()
    names = {"bn_a": "port.norm"}
    assert_parity(model, folder / "model.keras", INPUTS, names=names, gives_predictions=True, runner=runner)
    assert_parity(model, reference, names=names, gives_predictions=True, runner=runner)
    error = failure(model, folder / "model.keras", INPUTS, names=names, runner=runner)
    assert "output (no module) is the first that differs" in str(error)
    assert "gives_predictions=True" in str(error)
    with pytest.raises(VerificationError, match="a training step starts from logits"):
        assert_parity(model, reference, names=names, gives_predictions=True, training=True, runner=runner)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_inputs_of_any_dtype_and_kind(dtype, port, folder, runner):
    """Keras takes float32: what is finer is rounded for both."""
    for inputs in (INPUTS.astype(dtype), [INPUTS.astype(dtype)], torch.from_numpy(INPUTS.astype(dtype))):
        rows = assert_parity(port(), folder / "model.keras", inputs, names=NAMES, runner=runner).rows
        assert [row.name for row in rows] == ["conv_a", "bn_a", "act", "fc", "output"]


def test_a_keras_file_of_tf_keras_with_a_layer_called_output(port, folder, tmp_path, keras_side, runner):
    """tf_keras takes a momentum in float32, and PyTorch's variance; what the model returns gets another name."""
    source = keras_side(keras_own.save, tmp_path / "model.h5", "tf_keras", "output")
    model, names = port(own_rules=False), {**NAMES, "output": "fc"}
    rows = assert_parity(model, source, INPUTS, names=names, training=True, runner=runner).rows
    assert type(model.norm) is nn.BatchNorm2d
    error = failure(port(), source, INPUTS, names=names, training=True, runner=runner)
    assert "another moving_variance than the file's Keras, 'tf_keras': bn_a ('keras3')" in str(error)
    names = [row.name for row in rows if row.check == "inference"]
    assert names == ["conv_a", "bn_a", "act", "output", "model output"]
    assert {"output/kernel", "bn_a/moving_mean"} <= {row.name for row in rows}


class Convolution(nn.Module):
    """Of a network whose rest is something else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_a = nn.Conv2d(3, 8, 3, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_a(x).mean((2, 3))


def test_arrays_that_share_their_last_name_are_recorded(tmp_path, keras_side, runner):
    source = keras_side(keras_own.save_with_attention, tmp_path / "model.keras")
    error = failure(Convolution().eval(), source, INPUTS, training=True, runner=runner)
    assert "conv_a (Conv2d) is the first that differs" in str(error)
    assert "compared only as part of what follows: tokens, pooled" in str(error)
    assert "arrays of Keras that no tensor of the module stands for: attention/" in str(error)


class TwoOutputs(nn.Module):
    """A port of `keras_own.save_two_outputs`."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        self.model = load_model(checkpoint)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        yes, how_much = self.model(left, right)
        return {"yes": yes, "how_much": how_much}


def test_several_inputs_and_outputs(tmp_path, keras_side, runner):
    source = keras_side(keras_own.save_two_outputs, tmp_path / "model.keras")
    port = TwoOutputs(convert_to(tmp_path / "port.safetensors", source)).eval()
    inputs = [INPUTS, np.random.default_rng(1).normal(size=(3, 4))]
    rows = assert_parity(port, source, inputs, training=True, runner=runner).rows
    assert [row.name for row in rows if row.check == "inference"][-2:] == ["output 1", "output 2"]
    with pytest.raises(VerificationError, match=r"inputs: 1 arrays. Expected 2, one for each input .* left, right"):
        assert_parity(port, source, INPUTS, runner=runner)


def convert_to(path: Path, source: Path) -> Path:
    convert(source, path, Hints(import_as="graph"))
    return path


class FakeModel:
    """As much of a Keras model as is looked at: the real one would bring TensorFlow into this process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.saved: list[Path] = []

    def save(self, path: Path) -> None:
        self.saved.append(path)
        shutil.copy(self.file, path)


def test_a_keras_model_is_saved_and_loaded_elsewhere(port, folder, runner):
    model = FakeModel(folder / "model.keras")
    rows = assert_parity(port(), model, INPUTS, names=NAMES, runner=runner).rows
    assert rows[-1].name == "output"
    (path,) = model.saved
    assert path.suffix == ".keras"
    assert not path.exists()


BAD_CALLS: dict[str, tuple[Callable[[Path], dict[str, Any]], type[Exception], str]] = {
    "a name map to nowhere": (
        lambda folder: {"names": {"bn_a": "norn", "bn_b": "norm"}},
        VerificationError,
        r"points at what is not there: bn_a -> norn \(nearest: norm\); bn_b \(nearest: bn_a\)",
    ),
    "inputs beside a recording": (
        lambda folder: {"inputs": INPUTS},
        VerificationError,
        "a recording has its own inputs. Leave out inputs=",
    ),
    "no inputs": (
        lambda folder: {"reference": folder / "model.keras"},
        VerificationError,
        "model.keras: inputs are needed: an array for each input of the Keras model",
    ),
    "a reference of another kind": (
        lambda folder: {"reference": 7},
        VerificationError,
        "must be a recording, the path of a Keras file, or a Keras model. Received: int",
    ),
    "no file": (
        lambda folder: {"reference": folder / "nowhere.keras", "inputs": INPUTS},
        CheckpointError,
        "cannot be opened",
    ),
    "a port for a recording": (
        lambda folder: {"reference": convert_to(folder / "port.safetensors", folder / "model.keras")},
        VerificationError,
        "holds no recording",
    ),
    "another shape": (
        lambda folder: {"reference": folder / "model.keras", "inputs": INPUTS[:, :, :, :2]},
        Exception,
        "expected axis -1 of input shape to have value 3",
    ),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_a_bad_call_is_one_message(what, port, folder, reference, runner):
    make, kind, text = BAD_CALLS[what]
    with pytest.raises(kind, match=text):
        assert_parity(port(), **{"reference": reference, "names": NAMES, **make(folder)}, runner=runner)


def test_a_module_that_names_nothing_is_told_how_to(reference):
    with pytest.raises(
        VerificationError,
        match=r"no module has the name of a Keras layer. Give a map: names=.* Keras's layers: conv_a \(nearest: conv\)",
    ):
        assert_parity(_unnamed(), reference)


def _unnamed() -> nn.Module:
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(3, 5, 3))
    return model


def test_a_recording_without_a_training_step(port, folder, keras_side, tmp_path, monkeypatch, runner):
    monkeypatch.setattr("weight_transfer.parity.reference.cases", _inference_alone)
    record(folder / "model.keras", tmp_path / "reference.safetensors", Hints(import_as="graph"), runner=runner)
    assert_parity(port(), tmp_path / "reference.safetensors", names=NAMES, runner=runner)
    with pytest.raises(VerificationError, match=r"no training step to compare: the recording has none"):
        assert_parity(port(), tmp_path / "reference.safetensors", names=NAMES, training=True, runner=runner)


def _inference_alone(*arguments: Any, **named: Any) -> list[Any]:
    from weight_transfer.parity.inputs import cases

    return [case for case in cases(*arguments, **named) if case.check == "inference"]
