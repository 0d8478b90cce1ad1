"""Mistakes of layers without arrays, and of the input, each planted in a small module and found again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_recordings import ORIGIN, assert_names, images, lived_in

from resnet_torch.blocks import ResidualBlock
from resnet_torch.layers.merges import Merge
from resnet_torch.layers.poolings import GlobalPool, SamePool
from resnet_torch.padding import SamePad2d
from weight_transfer.layer_types.activations import rounded
from weight_transfer.parity.sketch import COMPACT, LIVE
from weight_transfer.preprocessing import PRESETS


def behind_a_convolution(**layers: nn.Module) -> Any:
    return lived_in(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 6, 3), **layers)))


def put(name: str, module: nn.Module) -> Any:
    return lambda model: setattr(model, name, module.double())


# The right layer, the wrong one, the cause, and what the explanation says.
REPLACED: dict[str, tuple[nn.Module, nn.Module, str, str]] = {
    "activation missing": (nn.ReLU(), nn.Identity(), "activation", "relu in place of Identity"),
    "leaky ReLU for ReLU": (nn.ReLU(), nn.LeakyReLU(0.01), "activation", "relu in place of LeakyReLU"),
    "ReLU for ReLU6": (nn.ReLU6(), nn.ReLU(), "activation", "relu6 in place of ReLU"),
    "PyTorch's slope for Keras's": (
        nn.LeakyReLU(rounded(0.3)),
        nn.LeakyReLU(0.01),
        "activation",
        "leaky_relu 0.3 in place of",
    ),
    "GELU by tanh": (nn.GELU(), nn.GELU("tanh"), "activation", "gelu in place of GELU"),
    "activation too much": (nn.Identity(), nn.ReLU(), "activation", "no ReLU in it"),
    "maximum for average": (nn.AvgPool2d(2), nn.MaxPool2d(2), "pooling", "average pooling"),
    "average for maximum": (nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1), "pooling", "max pooling, padding (1, 1)"),
    "average that counts the padding": (
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d(3, 2, 1),
        "pooling",
        "average pooling, padding (1, 1) x (1, 1)",
    ),
    "pool unpadded": (nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2), "padding", "padding (1, 1) x (1, 1)"),
    "pool padded": (nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, 1), "padding", "padding (0, 0) x (0, 0)"),
    "pool 'same' for one in the middle": (
        nn.MaxPool2d(3, 2, 1),
        SamePool("Max", (3, 3), (2, 2)),
        "padding",
        "padding (1, 1) x (1, 1)",
    ),
    "pool in the middle for 'same'": (
        SamePool("Max", (3, 3), (2, 2)),
        nn.MaxPool2d(3, 2, 1),
        "padding",
        "padding (1, 1) x (0, 1)",
    ),
    "global maximum for average": (GlobalPool("Average", 2, False), GlobalPool("Max", 2, False), "pooling", "average"),
    "global average for maximum": (GlobalPool("Max", 2, True), nn.AdaptiveAvgPool2d(1), "pooling", "the maximum of"),
    "zeros on the wrong side": (nn.ZeroPad2d((0, 1, 0, 1)), nn.ZeroPad2d((1, 0, 1, 0)), "padding", "(0, 1) x (0, 1)"),
    "zeros in the middle": (nn.ZeroPad2d((0, 2, 0, 2)), nn.ZeroPad2d(1), "padding", "padding (0, 2) x (0, 2)"),
    "'same' for zeros all around": (nn.ZeroPad2d(3), SamePad2d(7, 2), "padding", "padding (3, 3) x (3, 3)"),
    "zeros all around for 'same'": (SamePad2d(7, 2), nn.ZeroPad2d(3), "padding", "padding (3, 3) x (2, 3)"),
}


@pytest.mark.parametrize("detail", [COMPACT, LIVE], ids=["compact", "whole"])
@pytest.mark.parametrize("name", REPLACED)
def test_replaced_layers(name, detail, explained):
    right, wrong, cause, text = REPLACED[name]
    # Behind the convolution 13 x 12: an odd and an even size, where 'same' pads otherwise.
    found = explained(behind_a_convolution(layer=right), put("layer", wrong), images(2, 15, 14, 3), detail=detail)
    assert_names(found, "layer", cause, text)


def test_a_relu_inside_a_layer_that_has_none(explained):
    def plant(model: Any) -> None:
        model.conv = nn.Sequential(OrderedDict(convolution=model.conv, relu=nn.ReLU()))

    found = explained(behind_a_convolution(act=nn.Tanh()), plant, images(2, 9, 9, 3))
    assert_names(found, "conv", "activation", "no ReLU in it")


def test_a_relu_missing_behind_a_layer(explained):
    right = lived_in(nn.Sequential(OrderedDict(conv=nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), end=nn.Tanh())))

    def plant(model: Any) -> None:
        model.conv[1] = nn.Identity()

    found = explained(right, plant, images(2, 9, 9, 3))
    assert_names(found, "conv", "activation", "relu behind it")


@pytest.mark.parametrize("right", ["softmax", "sigmoid"])
@pytest.mark.parametrize("applied", [0, 2])
def test_last_activation(right, applied, explained):
    functions = {"softmax": lambda x: x.softmax(1), "sigmoid": torch.sigmoid}
    model = lived_in(nn.Sequential(OrderedDict(dense=nn.Linear(4, 5))))
    origin = replace(ORIGIN, last_activations=(right,))
    feeds = {"dense": (), "output": ("dense",)}

    def finish(x: Tensor) -> Tensor:
        for _ in range(applied):
            x = functions[right](x)
        return x

    found = explained(model, lambda _: None, images(3, 4), feeds=feeds, origin=origin, endings={"output": (0, finish)})
    assert_names(found, "output", "last activation", f"{right} applied once")


class Adding(nn.Module):
    """first + second, as an imported graph has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(3, 4, 1)
        self.add: nn.Module = Merge("add", (0, 0), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.first(x), self.second(x))


class FirstAlone(nn.Module):
    """An addition that forgets what it adds."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x


def test_an_addition_that_lost_a_branch(explained):
    feeds = {"first": (), "second": (), "add": ("first", "second"), "output": ("add",)}
    found = explained(lived_in(Adding()), put("add", FirstAlone()), images(2, 5, 5, 3), feeds=feeds)
    assert_names(found, "add", "shortcut", "first + second")


class Zero(nn.Module):
    """A shortcut that gives nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


BLOCK = {"stem": (), "conv": ("stem",), "relu": ("conv", "stem"), "output": ("relu",)}


def block() -> Any:
    residual = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 3, 1)))
    return lived_in(
        nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 3, 1), block=ResidualBlock(residual, shortcut=nn.Identity())))
    )


def test_a_block_that_lost_its_shortcut(explained):
    found = explained(block(), lambda model: setattr(model.block, "shortcut", Zero()), images(2, 5, 5, 3), feeds=BLOCK)
    assert_names(found, "relu", "shortcut", "relu(conv + stem)")


def test_a_block_that_lost_its_last_relu(explained):
    found = explained(
        block(), lambda model: setattr(model.block, "relu", nn.Identity()), images(2, 5, 5, 3), feeds=BLOCK
    )
    assert_names(found, "relu", "activation", "relu in place of Identity")


IMAGE = replace(ORIGIN, preprocessing=PRESETS["caffe"], channels=3)


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3)).astype(np.uint8)


def flipped(model: Any) -> None:
    model.conv.weight.data = model.conv.weight.flip(1)


def scaled(model: Any) -> None:
    model.conv.weight.data = model.conv.weight / 255


@pytest.mark.parametrize("padded", [False, True], ids=["", "behind a padding"])
@pytest.mark.parametrize(
    ("change", "cause", "text"),
    [(flipped, "input channels", "channels in reverse"), (scaled, "input scale", "the input times 255")],
)
def test_the_input(change, cause, text, padded, explained):
    pad = {"pad": nn.ZeroPad2d(2)} if padded else {}
    right = lived_in(nn.Sequential(OrderedDict(**pad, conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU())))
    found = explained(right, change, images(2, 7, 9, 3), knows_file=True)
    assert_names(found, "conv", cause, text)


def test_the_input_of_a_later_convolution_is_not_the_networks(explained):
    right = lived_in(nn.Sequential(OrderedDict(first=nn.Conv2d(3, 3, 1), conv=nn.Conv2d(3, 4, 3))))
    found = explained(right, flipped, images(2, 7, 9, 3), knows_file=True)
    assert_names(found, "conv", "weights", "the file's own weight")


@pytest.mark.parametrize("mode", ["torch", "tf", "none"])
@pytest.mark.parametrize("padded", [False, True], ids=["", "behind a padding"])
def test_preprocessing(mode, padded, explained):
    pad = {"pad": nn.ZeroPad2d(2)} if padded else {}
    right = lived_in(nn.Sequential(OrderedDict(**pad, conv=nn.Conv2d(3, 4, 3))))
    found = explained(right, lambda _: None, pixels(), raw=True, preprocessing=PRESETS[mode], origin=IMAGE)
    if padded:  # the padding is the first that differs, and holds nothing to be wrong
        assert found.layer == "pad"
        assert found.found is not None
        assert found.found.cause == "preprocessing"
    else:
        assert_names(found, "conv", "preprocessing", "caffe preprocessing")
