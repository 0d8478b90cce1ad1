"""Layers that act in training only: dropout and noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from weight_transfer.layer_types.layer_type import Settings, Shape


class GaussianNoise(nn.Module):
    """Adds normal noise in training.

    Args:
        stddev: Of the noise.
    """

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the same shape."""
        return x + torch.randn_like(x) * self.stddev if self.training else x

    def extra_repr(self) -> str:
        """Shows the deviation in the printed module."""
        return f"stddev={self.stddev}"


class GaussianDropout(nn.Module):
    """Multiplies by normal noise of mean one in training.

    Args:
        rate: Of the dropout with the same variance: rate / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the same shape."""
        if not self.training:
            return x
        return x * (1 + torch.randn_like(x) * math.sqrt(self.rate / (1 - self.rate)))

    def extra_repr(self) -> str:
        """Shows the rate in the printed module."""
        return f"rate={self.rate}"


_MODULES: Mapping[str, Callable[..., nn.Module]] = {
    "Dropout": lambda rate: nn.Dropout(rate),
    "SpatialDropout1D": lambda rate: nn.Dropout1d(rate),
    "SpatialDropout2D": lambda rate: nn.Dropout2d(rate),
    "SpatialDropout3D": lambda rate: nn.Dropout3d(rate),
    "GaussianNoise": GaussianNoise,
    "GaussianDropout": GaussianDropout,
    "AlphaDropout": lambda rate: nn.AlphaDropout(rate),
    "ActivityRegularization": nn.Identity,
}


def _builder(
    make: Callable[..., nn.Module],
) -> Callable[[Settings, Mapping[str, tuple[int, ...]], Sequence[Shape]], nn.Module]:
    return lambda settings, torch_shapes, in_shapes: make(**settings)


REGULARIZING_BUILDERS = {class_name: _builder(make) for class_name, make in _MODULES.items()}
