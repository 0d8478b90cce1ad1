"""Preprocessing folded into the stem: the same network, fed RGB images in 0..255.

Every mode of keras.applications scales and shifts each channel, after caffe has turned RGB to BGR. A
convolution takes that over exactly: flipped and scaled kernels, another bias, and at the borders, where
it pads with zeros, the colour that preprocessing makes zero.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resnet_torch.padding import SamePad2d, same_padding
from resnet_torch.resnet import ResNet
from weight_transfer.architecture import Preprocessing
from weight_transfer.errors import ArchitectureError
from weight_transfer.preprocessing import CAFFE_MEAN_BGR, TORCH_MEAN_RGB, TORCH_STD_RGB


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
        model: Left as it is. Its architecture says which preprocessing to fold.

    Returns:
        A copy, whose architecture says that nothing is to be done to its images. To keep it, export it
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
    affine = _affine(a.conventions.preprocessing, a.in_shape[2])
    conventions = dataclasses.replace(a.conventions, preprocessing="none")
    folded.architecture = dataclasses.replace(a, conventions=conventions)
    if affine is None:
        return folded
    order, scale, offset = affine
    conv, norm = folded.stem.get_submodule(a.names.stem_conv), folded.stem.get_submodule(a.names.stem_norm)
    weight = conv.weight.detach().cpu().double()
    shift = torch.einsum("oihw,i->o", weight, offset)
    with torch.no_grad():
        # Channel c of the convolution reads channel order[c] of the image; the order is its own inverse.
        conv.weight.copy_((weight * scale.reshape(1, -1, 1, 1))[:, order])
        if conv.bias is not None:
            conv.bias.copy_(conv.bias.cpu().double() + shift)
        else:  # the mean that the batch norm takes off moves along
            norm.running_mean.copy_(norm.running_mean.cpu().double() - shift)
    color = (-offset / scale)[order].to(conv.weight.device, conv.weight.dtype)
    pad = folded.stem.get_submodule(a.names.stem_pad)
    setattr(folded.stem, a.names.stem_pad, ColorPad2d(color, pad if isinstance(pad, SamePad2d) else pad.padding[0]))
    return folded


def _affine(mode: Preprocessing, channels: int) -> tuple[list[int], Tensor, Tensor] | None:
    """What a mode does, as order of the channels, scale and offset: ``x[order] * scale + offset``; None for nothing.

    The colour modes leave images of other than three channels alone, as `preprocess` does.
    """
    if mode == "tf":
        return list(range(channels)), _vector([1 / 127.5] * channels), _vector([-1.0] * channels)
    if mode == "none" or channels != 3:
        return None
    if mode == "caffe":
        return [2, 1, 0], _vector([1.0] * 3), -_vector(CAFFE_MEAN_BGR)
    mean, std = _vector(TORCH_MEAN_RGB), _vector(TORCH_STD_RGB)
    return [0, 1, 2], 1 / (255 * std), -mean / std


def _vector(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)
