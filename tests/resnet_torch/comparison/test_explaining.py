"""The first divergence: which layer is named, what is tried, what is said where nobody knows why."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_recordings import assert_names, compare_with, images, in_a_row, lived_in, record_module, subject_for

from resnet_torch import BatchNorm2d
from resnet_torch.comparison.explanation import SHOWN_TRIALS, explain
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.report import Row
from weight_transfer.parity.sketch import COMPACT, LIVE


def small() -> Any:
    layers = OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=BatchNorm2d(6), relu=nn.ReLU(), end=nn.Conv2d(6, 4, 3))
    return lived_in(nn.Sequential(layers))


def unknown(model: Any) -> None:
    """What no table lists: a kernel whose middle is missing."""
    model.end.weight[:, :, 1, 1] = 0


@pytest.mark.parametrize("detail", [COMPACT, LIVE], ids=["compact", "whole"])
def test_a_divergence_that_nobody_knows_is_found_and_left_unnamed_with_the_nearest_guesses(detail, explained):
    found = explained(small(), unknown, images(2, 9, 8, 3), detail=detail)
    assert (found.check, found.layer, found.class_name) == ("inference", "end", "Conv2d")
    assert found.found is None
    assert 1e-3 < found.error < 10
    assert found.inputs.keys() == {"relu"}
    assert found.inputs["relu"] < 1e-14
    assert 0 < len(found.tried) <= SHOWN_TRIALS < found.num_tried
    errors = [trial.error for trial in found.tried]
    assert errors == sorted(errors)
    assert errors[0] > 1e-6
    assert f"None of {found.num_tried} known mistakes" in found.sentence


@pytest.mark.parametrize("detail", [COMPACT, LIVE], ids=["compact", "whole"])
def test_the_first_of_two_mistakes_is_named(detail, explained):
    def plant(model: Any) -> None:
        unknown(model)
        model.norm.eps = 1e-5

    assert_names(explained(small(), plant, images(2, 9, 8, 3), detail=detail), "norm", "epsilon", "epsilon 0.001")


def test_two_mistakes_in_one_layer_are_more_than_is_known(explained):
    def plant(model: Any) -> None:
        model.norm.eps = 1e-5
        model.norm.bias.neg_()

    assert explained(small(), plant, images(2, 9, 8, 3)).found is None


class Cancelling(nn.Module):
    """A layer that subtracts what is nearly equal, and so amplifies what is wrong before it."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean((2, 3), keepdim=True)


def test_a_mistake_below_the_gate_that_a_later_layer_amplifies_is_named_where_it_is(explained):
    right = lived_in(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=BatchNorm2d(6), end=Cancelling())))
    with torch.no_grad():
        right.norm.running_var.fill_(2e6)
        right.norm.running_mean.fill_(-2e5)
    found = explained(right, lambda model: setattr(model.norm, "eps", 1e-3 / 1.001), images(2, 9, 8, 3))
    assert_names(found, "norm", "epsilon", "epsilon 0.001 in place of 0.000999")
    assert 1e-14 < found.error < 1e-12
    assert found.found is not None
    assert found.found.error < found.error / 10


def test_rounding_before_a_mistake_is_no_mistake(explained):
    right = lived_in(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 6, 3), cancel=Cancelling(), end=nn.Conv2d(6, 4, 1))))

    def plant(model: Any) -> None:
        model.conv.bias += 1e-14  # of no matter
        model.end.weight.copy_(model.end.weight.flip(0))

    assert explained(right, plant, images(2, 9, 8, 3)).layer == "end"


# Other checks


def test_a_parameter_that_does_not_learn(explained):
    found = explained(small(), lambda model: model.conv.weight.requires_grad_(False), images(4, 9, 8, 3), training=True)
    assert found.check == "gradient"
    assert found.class_name == "Conv2d"
    assert_names(found, "conv/kernel", "frozen", "requires_grad of conv.weight, which is False")


class Halved(torch.autograd.Function):
    """The identity, with half its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient / 2


class Halving(nn.Conv2d):
    """A convolution that gives back half the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Halved.apply(x))


def test_a_gradient_that_is_wrong_for_no_known_reason(explained):
    def plant(model: Any) -> None:
        end = Halving(6, 4, 3).double()
        end.load_state_dict(model.end.state_dict())
        model.end = end

    found = explained(small(), plant, images(4, 9, 8, 3), training=True)
    assert (found.check, found.layer, found.found, found.num_tried) == ("gradient", "conv/kernel", None, 0)
    assert "No known mistake could be tried" in found.sentence


def test_a_norm_that_learns_by_no_known_rule(explained):
    def plant(model: Any) -> None:
        model.norm.momentum = 0.1234

    right = small()
    right.norm.momentum = 0.4321
    found = explained(right, plant, images(4, 9, 8, 3), training=True)
    assert (found.check, found.layer, found.found) == ("statistics", "norm/moving_mean", None)
    assert {trial.cause for trial in found.tried} == {"momentum", "moving variance"}
    assert found.num_tried > 5


def test_a_model_in_training_mode_is_explained_as_it_is(tmp_path):
    model = small()
    case = Case("batch", (images(2, 9, 8, 3),), raw=False)
    recording = record_module(tmp_path / "reference.safetensors", model, [case], in_a_row(model))
    model.train()
    rows = compare_with(subject_for(model, recording.feeds), recording)
    assert all(row.passed for row in rows)  # the comparison puts it into inference mode; `assert_parity` does not
    failed = Row("inference", "norm", "cpu", (2, 7, 6, 6), 1.0, {"float64": 0.1}, {"float64": 1e-12})
    found = explain(subject_for(model, recording.feeds), recording, failed, rows, as_it_is=True)
    assert_names(found, "norm", "training mode", "it was in training mode")


# Where nothing can be tried


def test_a_layer_that_the_port_lacks(tmp_path):
    model = small()
    case = Case("batch", (images(2, 9, 8, 3),), raw=False)
    recording = record_module(tmp_path / "reference.safetensors", model, [case], in_a_row(model))
    lacking = nn.Sequential(OrderedDict(conv=model.conv, norm=model.norm, act=model.relu, end=model.end))
    subject = subject_for(lacking, recording.feeds)
    rows = compare_with(subject, recording)
    failed = next(row for row in rows if not row.passed)
    found = explain(subject, recording, failed, rows)
    assert (found.layer, found.class_name, found.error, found.num_tried) == ("relu", "no module", math.inf, 0)
    assert "No known mistake could be tried" in found.sentence


def test_an_error_in_float32_alone_is_not_explained_by_float64(tmp_path):
    model = small()
    case = Case("batch", (images(2, 9, 8, 3),), raw=False)
    recording = record_module(tmp_path / "reference.safetensors", model, [case], in_a_row(model))
    subject = subject_for(model, recording.feeds)
    rows = compare_with(subject, recording)
    errors, limits = {"float64": 1e-16, "float32": 1e-2}, {"float64": 1e-12, "float32": 1e-5}
    failed = Row("inference", "norm", "cpu", (2, 7, 6, 6), 1.0, errors, limits)
    found = explain(subject, recording, failed, rows)
    assert (found.layer, found.found, found.num_tried) == ("norm", None, 0)


@pytest.mark.parametrize("training", [False, True])
def test_explaining_leaves_the_model_as_it_was(training, tmp_path):
    model = small()
    case = Case("batch", (images(4, 9, 8, 3),), raw=False, check="training" if training else "inference")
    recording = record_module(tmp_path / "reference.safetensors", model, [case], in_a_row(model))
    model.norm.momentum = 0.5
    if not training:
        with torch.no_grad():
            unknown(model)
    before = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    subject = subject_for(model, recording.feeds)
    rows = compare_with(subject, recording)
    explain(subject, recording, next(row for row in rows if not row.passed), rows)
    assert all(torch.equal(tensor, before[0][name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == before[1]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
