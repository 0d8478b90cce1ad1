"""Layers that act in training only: dropout and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from resnet_torch.layers.layer_module import LayerModule, TorchShapes, attributes
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


# By class, its module and what that calls the setting.
_MODULES: Mapping[str, tuple[type[nn.Module], Mapping[str, str]]] = {
    "Dropout": (nn.Dropout, {"rate": "p"}),
    "SpatialDropout1D": (nn.Dropout1d, {"rate": "p"}),
    "SpatialDropout2D": (nn.Dropout2d, {"rate": "p"}),
    "SpatialDropout3D": (nn.Dropout3d, {"rate": "p"}),
    "GaussianNoise": (GaussianNoise, {"stddev": "stddev"}),
    "GaussianDropout": (GaussianDropout, {"rate": "rate"}),
    "AlphaDropout": (nn.AlphaDropout, {"rate": "p"}),
    "ActivityRegularization": (nn.Identity, {}),
}


def _row(module: type[nn.Module], names: Mapping[str, str]) -> LayerModule:
    def build(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
        return module(**{names[key]: value for key, value in settings.items()})

    return LayerModule(build, {module: attributes(**names)})


REGULARIZING_LAYERS: Mapping[str, LayerModule] = {class_name: _row(*row) for class_name, row in _MODULES.items()}
