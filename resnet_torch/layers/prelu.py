"""PReLU: with a slope for every channel, or for every place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.channels import along_channels
from resnet_torch.layers.layer_module import Inputs, LayerModule, TorchShapes
from weight_transfer.layer_types import Settings, Shape


class ChannelPReLU(nn.PReLU):
    """`torch.nn.PReLU`, whose gradient at 0 is 0, as in Keras."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the like of ``x``, (N, C, ...), its negative values times the slopes."""
        return F.relu(x) - along_channels(self.weight, x) * F.relu(-x)


class PlacewisePReLU(nn.Module):
    """A leaky relu whose slope differs from place to place.

    Args:
        shape: Of the slopes, (C, ...), 1 along axes that share one.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.weight = nn.Parameter(torch.full(tuple(shape), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the like of ``x``, (N, C, ...), its negative values times the slopes."""
        return F.relu(x) - self.weight * F.relu(-x)

    def extra_repr(self) -> str:
        """Shows the shape in the printed module."""
        return f"{tuple(self.weight.shape)}"


def build_prelu(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``PReLU``."""
    shape = torch_shapes["weight"]
    return ChannelPReLU(shape[0]) if len(shape) == 1 else PlacewisePReLU(shape)


def read_prelu(module: Any, inputs: Inputs) -> Settings:
    """Reads ``PReLU``: the axes along which there is one slope."""
    shape = (*module.weight.shape, *(1,) * (len(inputs.shapes[0]) - module.weight.dim()))
    return {"shared_axes": sorted(inputs.keras_axis(axis) for axis, size in enumerate(shape, 1) if size == 1)}


PRELU_LAYERS: Mapping[str, LayerModule] = {
    "PReLU": LayerModule(build_prelu, dict.fromkeys((ChannelPReLU, PlacewisePReLU), read_prelu))
}
