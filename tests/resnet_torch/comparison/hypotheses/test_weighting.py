"""Mistakes of kernels, biases and windows, each planted in a small module and found again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torch_recordings import assert_names, images, lived_in

from resnet_torch.comparison.hypotheses.weights import pads_that_fit
from resnet_torch.layers.convolutions import CausalConv1d, SameConv2d
from resnet_torch.layers.shapes import Flatten
from resnet_torch.padding import SamePad2d
from weight_transfer.parity.sketch import COMPACT, LIVE

WHOLE_AND_COMPACT = pytest.mark.parametrize("detail", [COMPACT, LIVE], ids=["compact", "whole"])


def convolution(**arguments: Any) -> Any:
    """A 3x3 convolution that is neither first nor last, as wide as what it takes."""
    layers = OrderedDict(first=nn.Conv2d(3, 6, 1), conv=nn.Conv2d(6, 6, 3, **arguments), relu=nn.ReLU())
    return lived_in(nn.Sequential(layers))


def set_weight(value: Any) -> Any:
    def change(model: Any) -> None:
        weight = model.conv.weight
        weight.copy_(value(weight.clone()).reshape(weight.shape))

    return change


KERNELS = {
    "height and width": (lambda w: w.transpose(2, 3), "kernel transposed", "height and width swapped"),
    "180 degrees": (lambda w: w.flip((2, 3)), "kernel flipped", "turned by 180 degrees"),
    "inputs and outputs": (lambda w: w.transpose(0, 1), "kernel channels", "inputs and outputs swapped"),
    "reshaped": (lambda w: w.permute(2, 3, 1, 0).contiguous(), "kernel reshaped", "where it had been reshaped"),
}


@WHOLE_AND_COMPACT
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_in_another_layout(name, detail, explained):
    change, cause, text = KERNELS[name]
    found = explained(convolution(), set_weight(change), images(2, 8, 7, 3), detail=detail)
    assert_names(found, "conv", cause, text)


def test_dense_kernel_in_another_layout(explained):
    square = lived_in(nn.Sequential(OrderedDict(first=nn.Linear(4, 6), conv=nn.Linear(6, 6))))
    found = explained(square, set_weight(lambda w: w.transpose(0, 1)), images(9, 4))
    assert_names(found, "conv", "kernel channels")
    oblong = lived_in(nn.Sequential(OrderedDict(first=nn.Linear(4, 6), conv=nn.Linear(6, 5))))
    found = explained(oblong, set_weight(lambda w: w.transpose(0, 1).contiguous()), images(9, 4))
    assert_names(found, "conv", "kernel reshaped")


@WHOLE_AND_COMPACT
def test_bias_of_zeros(detail, explained):
    found = explained(convolution(), lambda model: model.conv.bias.zero_(), images(2, 8, 7, 3), detail=detail)
    assert_names(found, "conv", "bias", "a constant added to each channel")


@WHOLE_AND_COMPACT
def test_no_bias(detail, explained):
    def plant(model: Any) -> None:
        model.conv.bias = None

    found = explained(convolution(), plant, images(2, 8, 7, 3), detail=detail)
    assert_names(found, "conv", "bias", "a bias is missing")


def test_bias_of_a_dense_layer_shows_in_a_second_batch(explained):
    right = lived_in(nn.Sequential(OrderedDict(dense=nn.Linear(6, 5))))
    drop = lambda model: model.dense.bias.zero_()  # noqa: E731
    # One row tells nothing: any difference is a constant.
    assert explained(right, drop, images(1, 6)).found is None
    assert_names(explained(right, drop, images(1, 6), images(3, 6, seed=1)), "dense", "bias", "a constant added")
    assert_names(explained(right, drop, images(1, 6), knows_file=True), "dense", "bias", "the file's own bias")


def test_a_constant_that_differs_from_place_to_place_is_no_bias(explained):
    found = explained(convolution(), set_weight(lambda w: 1.01 * w), images(2, 8, 7, 3))
    assert found.found is None


def same_shapes() -> Any:
    layers = OrderedDict(one=nn.Conv2d(3, 3, 3), norm_one=nn.BatchNorm2d(3), two=nn.Conv2d(3, 3, 3))
    return lived_in(nn.Sequential(OrderedDict(**layers, norm_two=nn.BatchNorm2d(3))))


def swap(first: str, second: str, *names: str) -> Any:
    def change(model: Any) -> None:
        for name in names:
            one, two = getattr(model.get_submodule(first), name), getattr(model.get_submodule(second), name)
            one.data, two.data = two.data.clone(), one.data.clone()

    return change


STATISTICS = ("running_mean", "running_var")
PARTNERS = {
    "kernel": (swap("one", "two", "weight"), "one", "the weight that two holds"),
    "kernel and bias": (swap("one", "two", "weight", "bias"), "one", "the arrays that two holds"),
    "batch norm": (swap("norm_one", "norm_two", "weight", "bias", *STATISTICS), "norm_one", "the arrays that norm_two"),
    "mean": (swap("norm_one", "norm_two", "running_mean"), "norm_one", "the running_mean that norm_two holds"),
}


@WHOLE_AND_COMPACT
@pytest.mark.parametrize("knows_file", [False, True], ids=["", "with the file"])
@pytest.mark.parametrize("name", PARTNERS)
def test_arrays_of_another_layer(name, knows_file, detail, explained):
    change, layer, text = PARTNERS[name]
    found = explained(same_shapes(), change, images(2, 9, 8, 3), detail=detail, knows_file=knows_file)
    assert_names(found, layer, "partner", text)


def test_arrays_that_another_layer_holds_no_longer(explained):
    """Without a swap the port has the right numbers nowhere; the file has."""

    def plant(model: Any) -> None:
        model.one.weight.copy_(model.two.weight)

    assert explained(same_shapes(), plant, images(2, 9, 8, 3)).found is None
    found = explained(same_shapes(), plant, images(2, 9, 8, 3), knows_file=True)
    assert_names(found, "one", "partner", "the file's own weight; it holds two.weight")


@pytest.mark.parametrize(
    "change",
    [lambda w: 1.01 * w, lambda w: w.half().double(), lambda w: w.roll(1, 0)],
    ids=["scaled", "half", "rolled"],
)
def test_numbers_that_only_the_file_knows(change, explained):
    found = explained(convolution(), set_weight(change), images(2, 8, 7, 3), knows_file=True)
    assert_names(found, "conv", "weights", "the file's own weight")


def in_front(pad: nn.Module, **arguments: Any) -> nn.Module:
    return nn.Sequential(pad, nn.Conv2d(6, 6, **{"kernel_size": 3, **arguments}))


# The right layer, the wrong one with the same kernel, the cause, and what the explanation says; on 13 x 12.
WINDOWS: dict[str, tuple[nn.Module, nn.Module, str, str]] = {
    "unpadded": (nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3), "padding", "padding (1, 1) x (1, 1)"),
    "padded": (nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3, padding=1), "padding", "padding (0, 0) x (0, 0)"),
    "'same' for one in the middle": (
        nn.Conv2d(6, 6, 3, 2, 1),
        SameConv2d(6, 6, 3, 2),
        "padding",
        "padding (1, 1) x (1, 1)",
    ),
    "one in the middle for 'same'": (
        SameConv2d(6, 6, 3, 2),
        nn.Conv2d(6, 6, 3, 2, 1),
        "padding",
        "padding (1, 1) x (0, 1)",
    ),
    "stem 'same' for zeros": (
        in_front(nn.ZeroPad2d(3), kernel_size=7, stride=2),
        in_front(SamePad2d(7, 2), kernel_size=7, stride=2),
        "padding",
        "padding (3, 3) x (3, 3)",
    ),
    "stem zeros for 'same'": (
        in_front(SamePad2d(7, 2), kernel_size=7, stride=2),
        in_front(nn.ZeroPad2d(3), kernel_size=7, stride=2),
        "padding",
        "padding (3, 3) x (2, 3)",
    ),
    "pad lost": (in_front(nn.ZeroPad2d(1)), in_front(nn.ZeroPad2d(0)), "padding", "padding (1, 1) x (1, 1)"),
    "stride 1": (nn.Conv2d(6, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 1, 1), "stride", "stride 2 in place of 1"),
    "stride 2": (nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1, 2), "stride", "stride 1 in place of 2"),
    "dilation 1": (
        nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        nn.Conv2d(6, 6, 3, padding=1),
        "dilation",
        "dilation 2 in place of 1",
    ),
    "dilation 2": (
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        "dilation",
        "dilation 1 in place of 2",
    ),
    "depthwise, of two": (
        nn.Sequential(nn.Conv2d(6, 6, 3, 2, 1, groups=6), nn.Conv2d(6, 4, 1)),
        nn.Sequential(SameConv2d(6, 6, 3, 2, groups=6), nn.Conv2d(6, 4, 1)),
        "padding",
        "padding (1, 1) x (1, 1)",
    ),
}


@WHOLE_AND_COMPACT
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name, detail, explained):
    right, wrong, cause, text = WINDOWS[name]
    model = lived_in(nn.Sequential(OrderedDict(first=nn.Conv2d(3, 6, 1), conv=right, relu=nn.ReLU())))

    def plant(port: Any) -> None:
        wrong.double().load_state_dict(port.conv.state_dict())
        port.conv = wrong

    found = explained(model, plant, images(2, 13, 12, 3), detail=detail)
    assert_names(found, "conv", cause, text)


def test_a_causal_convolution(explained):
    right = lived_in(nn.Sequential(OrderedDict(conv=CausalConv1d(3, 4, 5), relu=nn.ReLU())))

    def plant(model: Any) -> None:
        conv = nn.Conv1d(3, 4, 5, padding=2).double()
        conv.load_state_dict(model.conv.state_dict())
        model.conv = conv

    assert_names(explained(right, plant, images(2, 20, 3)), "conv", "padding", "padding (4, 0)")


@pytest.mark.parametrize("size", [(13, 12), (12, 13), (7, 7)])
def test_every_padding_that_gives_the_size_is_tried_once_the_equal_ones_first(size):
    expected = tuple(-(-n // 2) for n in size)
    found = list(pads_that_fit(size, (3, 3), 2, 1, expected))
    assert ((1, 1), (1, 1)) in found
    assert tuple((max(3 - 2 + -n % 2, 0) // 2, -(-max(3 - 2 + -n % 2, 0) // 2)) for n in size) in found  # 'same'
    assert len(found) == len(set(found))
    equal = [len(set(pads)) for pads in found]
    assert equal == sorted(equal)
    for pads in found:
        assert all((n + sum(pad) - 3) // 2 + 1 == out for n, pad, out in zip(size, pads, expected, strict=True))


def test_no_padding_gives_a_size_of_another_rank():
    assert not list(pads_that_fit((7, 7), (3, 3), 1, 1, ()))


def test_channels_flattened_first(explained):
    right = lived_in(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), flatten=Flatten((0, 2, 3, 1)), dense=nn.Linear(36, 5)))
    )
    found = explained(right, lambda model: setattr(model, "flatten", nn.Flatten()), images(2, 5, 5, 3))
    assert_names(found, "flatten", "flatten order", "the channels flattened last")


def test_channels_flattened_last(explained):
    right = lived_in(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), flatten=nn.Flatten(), dense=nn.Linear(36, 5))))
    found = explained(right, lambda model: setattr(model, "flatten", Flatten((0, 2, 3, 1))), images(2, 5, 5, 3))
    assert_names(found, "flatten", "flatten order", "the channels flattened first")


def test_a_dense_kernel_in_the_order_of_another_flatten(explained):
    right = lived_in(nn.Sequential(OrderedDict(first=nn.Linear(6, 36), dense=nn.Linear(36, 5))))
    order = torch.arange(36).reshape(4, 3, 3).permute(1, 2, 0).reshape(-1)

    def plant(model: Any) -> None:
        model.dense.weight.copy_(model.dense.weight[:, order].clone())

    assert_names(explained(right, plant, images(9, 6)), "dense", "flatten order", "in the order of 3 x 3 x 4")
