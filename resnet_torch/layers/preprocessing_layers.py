"""Preprocessing layers that models carry in front: rescaling and resizing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.layers.layer_module import LayerModule, TorchShapes, attributes
from weight_transfer.layer_types.layer_type import Settings, Shape

# Keras's "nearest" takes the middle of an output pixel, PyTorch's "nearest" its corner.
MODES = {"bilinear": "bilinear", "nearest": "nearest-exact"}


def constant_like(x: Tensor, constant: float | list[Any]) -> float | Tensor:
    """Returns a constant in the precision and on the device of x, exact in each.

    No buffer: converting a model to a lower precision and back would leave it rounded.
    """
    return x.new_tensor(constant) if isinstance(constant, list) else constant


class Rescaling(nn.Module):
    """Multiplies and adds.

    Args:
        scale: A number, or nested lists that broadcast against (N, C, H, W).
        offset: The same, added afterwards.
    """

    def __init__(self, scale: float | list[Any], offset: float | list[Any]) -> None:
        super().__init__()
        self.scale = scale
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        """Rescales (N, C, ...)."""
        return x * constant_like(x, self.scale) + constant_like(x, self.offset)

    def extra_repr(self) -> str:
        """Shows the constants in the printed module."""
        return f"scale={self.scale}, offset={self.offset}"


class Resizing(nn.Module):
    """Resizes images as `tf.image.resize` does: half-pixel centers, no antialiasing.

    Args:
        size: Height and width.
        interpolation: ``bilinear`` or ``nearest``.
    """

    def __init__(self, size: Sequence[int], interpolation: str) -> None:
        super().__init__()
        self.size = tuple(size)
        self.interpolation = interpolation

    def forward(self, x: Tensor) -> Tensor:
        """Resizes (N, C, H, W) to (N, C, *size)."""
        return F.interpolate(x, size=self.size, mode=MODES[self.interpolation])

    def extra_repr(self) -> str:
        """Shows the size in the printed module."""
        return f"{self.size}, {self.interpolation}"


def _rescaling(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return Rescaling(settings["scale"], settings["offset"])


def _resizing(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return Resizing(settings["size"], settings["interpolation"])


PREPROCESSING_LAYERS: Mapping[str, LayerModule] = {
    "Rescaling": LayerModule(_rescaling, {Rescaling: attributes(scale="scale", offset="offset")}),
    "Resizing": LayerModule(_resizing, {Resizing: attributes(size="size", interpolation="interpolation")}),
}
