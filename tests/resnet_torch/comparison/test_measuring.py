"""A module against a recording: what is compared, and that it stays as it was."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_recordings import ORIGIN, images, in_a_row, lived_in, record_module, subject_for

from resnet_torch import BatchNorm2d
from resnet_torch.comparison.layer_errors import (
    compare_as_it_is,
    compare_inference,
    compare_training,
    network_inputs,
    precision,
    training_mode,
)
from resnet_torch.comparison.subject import Stop
from weight_transfer.images import load_images
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.losses import target
from weight_transfer.parity.recording import Recording
from weight_transfer.parity.sketch import LIVE
from weight_transfer.preprocessing import PRESETS


def small() -> Any:
    layers = OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=BatchNorm2d(4), drop=nn.Dropout(0.5), end=nn.Conv2d(4, 2, 1))
    return lived_in(nn.Sequential(layers))


SHOWN = Case("batch", (images(3, 6, 5, 3),), raw=False)
TRAINED_ON = Case("step", (images(3, 6, 5, 3, seed=1),), raw=False, check="training")


@pytest.fixture
def recording(tmp_path) -> Recording:
    model = small()
    return record_module(tmp_path / "reference.safetensors", model, [SHOWN, TRAINED_ON], in_a_row(model))


class Errors(dict[tuple[str, str], float]):
    """What `found` was called with."""

    def __call__(self, check: str, name: str, error: TapError) -> None:
        self[check, name] = error.error


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "learns": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    tensors, others = one.pop("tensors"), other.pop("tensors")
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
    assert one == other


def test_a_right_module_agrees_in_all_that_is_recorded(recording):
    errors = Errors()
    subject = subject_for(small(), recording.feeds)
    compare_inference(subject, recording, SHOWN, errors)
    compare_training(subject, recording, TRAINED_ON, errors)
    assert set(errors) == {(entry.check, entry.name) for entry in recording.entries}
    assert {check for check, _ in errors} == {"inference", "training", "loss", "gradient", "statistics"}
    assert max(errors.values()) < 1e-14


@pytest.mark.parametrize("training", [False, True])
def test_a_training_step_leaves_the_model_as_it_was(training, recording):
    model = small().train(training)
    model.end.weight.requires_grad_(False)
    model.norm.eval()
    before = state(model)
    compare_training(subject_for(model, recording.feeds), recording, TRAINED_ON, Errors())
    assert_same(before, state(model))


def test_inference_leaves_the_statistics_where_a_norm_moves_them(recording):
    class Stubborn(BatchNorm2d):
        def train(self, mode: bool = True) -> Stubborn:
            self.training = True
            return self

    model = small()
    norm = Stubborn(4).double()
    norm.load_state_dict(model.norm.state_dict())
    model.norm = norm
    before = state(model)
    errors = Errors()
    compare_inference(subject_for(model, recording.feeds), recording, SHOWN, errors)
    assert errors["inference", "conv"] < 1e-14
    assert errors["inference", "norm"] > 1e-3
    assert_same(before, state(model))


def test_a_model_is_compared_as_it_is_or_in_inference_mode(recording):
    model = small().train()
    errors, as_it_is = Errors(), Errors()
    before = state(model)
    compare_inference(subject_for(model, recording.feeds), recording, SHOWN, errors)
    compare_as_it_is(subject_for(model, recording.feeds), recording, SHOWN, as_it_is)
    assert max(errors.values()) < 1e-14
    assert as_it_is["inference", "norm"] > 1e-3
    assert_same(before, state(model))


def test_only_norms_that_are_not_frozen_train():
    model = small()
    model.add_module("frozen", BatchNorm2d(2))
    model.frozen.frozen = True
    with training_mode(model):
        assert [name for name, module in model.named_modules() if module.training] == ["norm"]
    model.train()
    with training_mode(model):
        assert [name for name, module in model.named_modules() if module.training] == ["norm"]
    assert model.drop.training


def test_stop_ends_the_comparison(recording):
    seen = []

    def found(check: str, name: str, error: TapError) -> None:
        seen.append(name)
        if name == "norm":
            raise Stop

    model = small()
    before = state(model)
    assert compare_inference(subject_for(model, recording.feeds), recording, SHOWN, found) == []
    assert seen == ["conv", "norm"]
    seen.clear()
    compare_training(subject_for(model, recording.feeds), recording, TRAINED_ON, found)
    assert seen == ["conv", "norm"]  # and no loss, no gradient
    assert_same(before, state(model))


def test_what_the_module_lacks_is_infinitely_far_off(recording):
    model = small()
    subject = subject_for(model, recording.feeds)
    rows = {name: row for name, row in subject.rows.items() if name != "conv/kernel"}
    errors = Errors()
    compare_training(replace(subject, rows=rows), recording, TRAINED_ON, errors)
    assert errors.pop(("gradient", "conv/kernel")) == float("inf")
    assert max(errors.values()) < 1e-14


def test_a_parameter_that_does_not_learn_has_a_gradient_of_zero(recording):
    model = small()
    model.conv.weight.requires_grad_(False)
    errors = Errors()
    compare_training(subject_for(model, recording.feeds), recording, TRAINED_ON, errors)
    assert errors.pop(("gradient", "conv/kernel")) > 1e-3
    assert max(errors.values()) < 1e-14


def test_no_number_is_infinitely_far_off(recording):
    model = small()
    with torch.no_grad():
        model.norm.bias[1] = float("nan")
    errors = Errors()
    compare_inference(subject_for(model, recording.feeds), recording, SHOWN, errors)
    assert errors["inference", "conv"] < 1e-14
    assert errors["inference", "norm"] == errors["inference", "end"] == errors["inference", "output"] == float("inf")


class Adding(nn.Module):
    """Two branches whose sizes must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 1)
        self.add = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.first(x) + self.second(x))


def test_a_size_that_a_later_layer_cannot_take_ends_the_run_at_the_layer_to_explain(tmp_path):
    feeds = {"first": (), "second": (), "add": ("first", "second"), "output": ("add",)}
    right = lived_in(Adding())
    recording = record_module(tmp_path / "reference.safetensors", right, [SHOWN, TRAINED_ON], feeds)
    wrong = copy.deepcopy(right)
    wrong.first.padding = (0, 0)
    errors = Errors()
    subject = subject_for(wrong, feeds)
    assert compare_inference(subject, recording, SHOWN, errors) == []
    compare_training(subject, recording, TRAINED_ON, errors)
    assert errors["inference", "first"] == errors["training", "first"] == float("inf")
    assert errors["inference", "second"] < 1e-14
    assert {name for _, name in errors} == {"first", "second"}


def test_an_error_of_a_module_whose_layers_agree_is_its_own(tmp_path):
    model = small()
    recording = record_module(tmp_path / "reference.safetensors", model, [SHOWN], in_a_row(model))

    def fail(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        raise RuntimeError("out of memory")

    model.end.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        compare_inference(subject_for(model, recording.feeds), recording, SHOWN, Errors())


LOSSES = {
    "softmax": lambda logits, wanted: F.cross_entropy(logits, wanted),
    "sigmoid": lambda logits, wanted: F.binary_cross_entropy(logits.sigmoid(), wanted),
    None: lambda logits, wanted: (logits**2).mean(),
}
KINDS = {"softmax": "cross entropy", "sigmoid": "binary cross entropy", None: "mean square"}


@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 4, 3)], ids=["dense", "maps"])
@pytest.mark.parametrize("activation", LOSSES)
def test_the_loss_of_an_output_goes_by_its_last_activation(activation, shape, tmp_path):
    layer = nn.Linear(6, 5) if len(shape) == 2 else nn.Conv2d(3, 5, 1)
    model = lived_in(nn.Sequential(OrderedDict(end=layer)))
    origin = replace(ORIGIN, last_activations=(activation,))
    case = Case("step", (images(*shape),), raw=False, check="training")
    feeds = in_a_row(model)
    recording = record_module(tmp_path / "reference.safetensors", model, [case], feeds, LIVE)
    subject = subject_for(model, feeds, origin)
    logits = subject.run(network_inputs(subject, case), lambda name, y: None)[0]
    last = subject.to_keras(logits)
    wanted = torch.from_numpy(target(KINDS[activation], last.shape))
    expected = LOSSES[activation](
        logits, wanted.movedim(-1, 1) if activation == "sigmoid" and logits.ndim > 2 else wanted
    )
    (entry,) = (entry for entry in recording.entries if entry.check == "loss")
    value = float(recording.expected(entry).kept[0])
    errors = Errors()
    compare_training(subject, recording, case, errors)
    assert errors["loss", "loss"] == pytest.approx(abs(float(expected.detach()) - value) / value, abs=1e-13)


def test_raw_images_are_prepared_and_image_files_are_loaded(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    file = tmp_path / "image.jpg"
    Image.fromarray(pixels[0]).save(file)
    subject = replace(
        subject_for(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3))).double(), {"conv": ()}),
        preprocessing=PRESETS["caffe"],
        channels=3,
    )
    (given,) = network_inputs(subject, Case("images", (pixels,), raw=True))
    means = torch.tensor([103.939, 116.779, 123.68]).double()[:, None, None]
    torch.testing.assert_close(
        given, torch.from_numpy(pixels[..., ::-1].copy()).movedim(-1, 1) - means, rtol=0, atol=1e-5
    )
    (plain,) = network_inputs(subject, Case("images", (pixels,), raw=True), "none")
    assert torch.equal(plain, torch.from_numpy(pixels).movedim(-1, 1).double())
    data = np.frombuffer(file.read_bytes(), np.uint8)
    (loaded,) = network_inputs(subject, Case("file", (data,), raw=True, loading="keras", size=(8, 8)), "none")
    assert torch.equal(loaded, torch.from_numpy(load_images([file], (8, 8), "keras", 3)).movedim(-1, 1).double())


def test_precision_is_put_back():
    def allowed() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = allowed()
    with precision("tf32"):
        assert allowed() == (True, True)
        with precision("float32"):
            assert allowed() == (False, False)
        assert allowed() == (True, True)
    assert allowed() == before
