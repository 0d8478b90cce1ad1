"""Preprocessing folded into the stem: the same network, fed RGB images in 0..255.

Every mode of keras.applications scales and shifts each channel, after caffe has turned RGB to BGR. A
convolution takes that over exactly: flipped and scaled kernels, another bias, and at the borders, where
it pads with zeros, the colour that preprocessing makes zero.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from resnet_torch.padding import SamePad2d, same_padding
from resnet_torch.resnet import ResNet
from resnet_torch.wrappers import description_of_module, with_description
from weight_transfer.errors import ArchitectureError
from weight_transfer.preprocessing import INSIDE, Preprocessing


class ColorPad2d(nn.Module):
    """Pads an image with one colour.

    Args:
        color: A number for each channel; it is part of the state dict, so that no network without it
            loads these weights.
        window: Pixels on each side, or the `SamePad2d` that it stands for.
    """

    color: Tensor

    def __init__(self, color: Tensor, window: int | SamePad2d) -> None:
        super().__init__()
        self.window = window if isinstance(window, int) else (window.kernel_size, window.strides)
        self.register_buffer("color", color)

    def forward(self, x: Tensor) -> Tensor:
        """Pads (N, C, H, W)."""
        batch, channels, height, width = x.shape
        if isinstance(self.window, int):
            top = bottom = left = right = self.window
        else:
            top, bottom = same_padding(height, *self.window)
            left, right = same_padding(width, *self.window)
        color = self.color.to(x.dtype).reshape(1, -1, 1, 1)
        padded = color.expand(batch, channels, top + height + bottom, left + width + right).clone()
        padded[:, :, top : top + height, left : left + width] = x
        return padded

    def extra_repr(self) -> str:
        """Shows the colour and the window in the printed module."""
        return f"color={[round(n, 3) for n in self.color.tolist()]}, window={self.window}"


def fold_preprocessing(model: ResNet) -> ResNet:
    """Returns a network that does its own preprocessing: it takes RGB images in 0..255.

    In exact arithmetic it computes what the model computes behind `weight_transfer.preprocess`; in
    float64 to 1e-12 of the peak, at the borders too.

    Args:
        model: Left as it is. What its file says of its images is folded, or the guess that `predict` makes.

    Returns:
        A copy, which knows that its preprocessing is inside. To keep it, export it
        or save its state dict: its stem is no longer that of a plain `ResNet`, which refuses the weights.

    Raises:
        ArchitectureError: The model is no `ResNet`: an imported graph has no stem that is known as such.

    Example:
        >>> model = fold_preprocessing(load_model("resnet50.safetensors"))
        >>> probabilities = model.predict(images)  # (N, 3, H, W), RGB, 0..255
    """
    if not isinstance(model, ResNet):
        raise ArchitectureError(
            f"only a ResNet's preprocessing can be folded. Received: {type(model).__name__}. "
            "Convert the checkpoint with --as native, if it is one."
        )
    folded = copy.deepcopy(model)
    a = folded.architecture
    known = description_of_module(model)
    how = known.preprocessing.on_channels(a.in_shape[2])
    with_description(folded, dataclasses.replace(known, said_preprocessing=INSIDE))
    if how == INSIDE:
        return folded
    order, scale, offset = _affine(how, a.in_shape[2])
    conv = _part(folded.stem, a.names.stem_conv, nn.Conv2d)
    weight = conv.weight.detach().cpu().double()
    shift = torch.einsum("oihw,i->o", weight, offset)
    with torch.no_grad():
        # Channel c of the convolution reads channel order[c] of the image; the order is its own inverse.
        conv.weight.copy_((weight * scale.reshape(1, -1, 1, 1))[:, order])
        if conv.bias is not None:
            conv.bias.copy_(conv.bias.cpu().double() + shift)
        else:  # the mean that the batch norm takes off moves along
            mean = folded.stem.get_buffer(f"{a.names.stem_norm}.running_mean")
            mean.copy_(mean.cpu().double() - shift)
    color = (-offset / scale)[order].to(conv.weight.device, conv.weight.dtype)
    pad = folded.stem.get_submodule(a.names.stem_pad)
    window = pad if isinstance(pad, SamePad2d) else _part(folded.stem, a.names.stem_pad, nn.ZeroPad2d).padding[0]
    setattr(folded.stem, a.names.stem_pad, ColorPad2d(color, window))
    return folded


M = TypeVar("M", bound=nn.Module)


def _part(stem: nn.Module, name: str, kind: type[M]) -> M:
    """Returns a module of the stem, which nobody must have replaced by one of another kind."""
    found = stem.get_submodule(name)
    if not isinstance(found, kind):
        raise ArchitectureError(
            f"stem.{name} must be a {kind.__name__} for preprocessing to be folded. Received: {type(found).__name__}. "
            "Fold the preprocessing before replacing modules of the stem."
        )
    return found


def _affine(how: Preprocessing, channels: int) -> tuple[list[int], Tensor, Tensor]:
    """What is done, as order of the channels, scale and offset: ``x[order] * scale + offset``."""
    order = list(range(channels))
    mean, std = (_vector(given or [default]).expand(channels) for given, default in ((how.mean, 0), (how.std, 1)))
    return order[::-1] if how.channel_order == "BGR" else order, 1 / (how.divisor * std), -mean / std


def _vector(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)
