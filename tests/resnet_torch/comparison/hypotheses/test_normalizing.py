"""Mistakes of a normalization, each planted in a module of two layers and found again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torch_recordings import assert_names, images, lived_in

from resnet_torch import BatchNorm2d
from weight_transfer.parity.sketch import COMPACT, LIVE


def conv_norm(epsilon: float = 1.001e-5, norm: type[nn.Module] = BatchNorm2d) -> Any:
    return lived_in(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3), norm=norm(8, eps=epsilon), relu=nn.ReLU())))


def swap(norm: Any, first: str, second: str) -> None:
    one, two = getattr(norm, first), getattr(norm, second)
    one.data, two.data = two.data.clone(), one.data.clone()


# What is changed in the norm, the cause, and what the explanation says.
PLANTED = {
    "epsilon of PyTorch": (lambda norm: setattr(norm, "eps", 1e-5), "epsilon", "epsilon 1.001e-05 in place of 1e-05"),
    "epsilon of Keras": (lambda norm: setattr(norm, "eps", 1e-3), "epsilon", "(keras.applications)"),
    "gamma and beta": (lambda norm: swap(norm, "weight", "bias"), "gamma and beta", "gamma and beta swapped"),
    "mean and variance": (
        lambda norm: swap(norm, "running_mean", "running_var"),
        "mean and variance",
        "moving mean and variance swapped",
    ),
    "variance squared": (lambda norm: norm.running_var.square_(), "deviation", "the square root of its variance"),
    "variance rooted": (lambda norm: norm.running_var.sqrt_(), "deviation", "the square of its variance"),
}


@pytest.mark.parametrize("detail", [COMPACT, LIVE], ids=["compact", "whole"])
@pytest.mark.parametrize("norm", [BatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("name", PLANTED)
def test_mistakes(name, norm, detail, explained):
    change, cause, text = PLANTED[name]
    right = conv_norm(norm=norm)
    right.norm.running_mean.abs_()  # or swapped with the variance it would have no root
    found = explained(right, lambda model: change(model.norm), images(2, 9, 9, 3), detail=detail)
    assert_names(found, "norm", cause, text)
    assert found.class_name == norm.__name__
    assert found.inputs.keys() == {"conv"}


def test_an_epsilon_that_nobody_uses_is_computed_from_the_output(explained):
    found = explained(conv_norm(epsilon=3.7e-4), lambda model: setattr(model.norm, "eps", 1e-3), images(2, 9, 9, 3))
    assert_names(found, "norm", "epsilon", "epsilon 0.00037 in place of 0.001")


def test_epsilon_of_a_layer_norm(explained):
    right = lived_in(nn.Sequential(OrderedDict(dense=nn.Linear(6, 8), norm=nn.LayerNorm(8, eps=1e-3))))
    found = explained(right, lambda model: setattr(model.norm, "eps", 1e-5), images(4, 6))
    assert_names(found, "norm", "epsilon", "epsilon 0.001 in place of 1e-05 (Keras's default")


class AlwaysTraining(BatchNorm2d):
    """A batch norm that ignores `eval`."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        self.training = True
        return self


def test_training_mode_at_inference(explained):
    def plant(model: Any) -> None:
        norm = AlwaysTraining(8, eps=1.001e-5).double()
        norm.load_state_dict(model.norm.state_dict())
        model.norm = norm

    found = explained(conv_norm(), plant, images(2, 9, 9, 3))
    assert_names(found, "norm", "training mode", "its moving statistics: it was in training mode")


def test_a_norm_that_does_not_train(explained):
    found = explained(conv_norm(), lambda model: setattr(model.norm, "frozen", True), images(4, 9, 9, 3), training=True)
    assert found.check == "training"
    assert_names(found, "norm", "training mode", "the batch's own statistics: it was in inference mode")


# What is changed, which norm, the cause, and what the explanation says.
LEARNING = {
    "momentum of Keras": (lambda norm: setattr(norm, "momentum", 0.99), "momentum", "momentum 0.01 in place of 0.99"),
    "momentum of PyTorch": (lambda norm: setattr(norm, "momentum", 0.1), "momentum", "momentum 0.01 in place of 0.1"),
    "unbiased variance": (
        lambda norm: setattr(norm, "moving_variance", "tf_keras"),
        "moving variance",
        "the rule of keras3: the biased variance",
    ),
}


@pytest.mark.parametrize("name", LEARNING)
def test_mistakes_of_learning(name, explained):
    change, cause, text = LEARNING[name]
    found = explained(conv_norm(), lambda model: change(model.norm), images(4, 9, 9, 3), training=True)
    assert found.check == "statistics"
    assert_names(found, found.layer, cause, text)
    assert found.layer.startswith("norm/moving_")


def test_pytorchs_own_norm_keeps_the_unbiased_variance(explained):
    def plant(model: Any) -> None:
        norm = nn.BatchNorm2d(8, eps=1.001e-5, momentum=0.01).double()
        norm.load_state_dict(model.norm.state_dict())
        model.norm = norm

    found = explained(conv_norm(), plant, images(4, 9, 9, 3), training=True)
    assert_names(found, "norm/moving_variance", "moving variance", "the biased variance of the batch")


class Twice(nn.Module):
    """One norm, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(2 * self.norm(x) + 1)


def test_momentum_of_a_norm_that_is_called_twice(explained):
    feeds = {"norm": (), "output": ("norm",)}
    change = lambda model: setattr(model.norm, "momentum", 0.99)  # noqa: E731
    found = explained(lived_in(Twice()), change, images(4, 5, 5, 3), training=True, feeds=feeds)
    assert_names(found, "norm/moving_mean", "momentum", "momentum 0.01 in place of 0.99")
