"""How Keras starts a layer's weights; PyTorch's own layers start otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

# Standard deviation of a standard normal cut off at 2 and -2.
# Source: keras/src/initializers/random_initializers.py, VarianceScaling.
TRUNCATED_STDDEV = 0.87962566103423978

WeightLayer = TypeVar("WeightLayer", nn.Conv2d, nn.Linear)


def he_normal(weight: Tensor) -> None:
    """Fills with a normal of standard deviation sqrt(2 / fan_in), cut off at two sigma before scaling.

    Source: He et al. 2015 (arXiv:1502.01852), equation 10; the cut is Keras's.
    """
    fan_in = weight[0].numel()
    sigma = math.sqrt(2 / fan_in) / TRUNCATED_STDDEV
    nn.init.trunc_normal_(weight, std=sigma, a=-2 * sigma, b=2 * sigma)


def glorot_uniform(weight: Tensor) -> None:
    """Fills evenly between -limit and limit, limit = sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, equation 16.
    """
    nn.init.xavier_uniform_(weight)


INITIALIZERS: Mapping[str, Callable[[Tensor], None]] = {
    "he_normal": he_normal,
    "glorot_uniform": glorot_uniform,
}


def initialize(layer: WeightLayer, kernel_initializer: str) -> WeightLayer:
    """Starts a convolution or dense layer as Keras does: this initializer, zero bias.

    Args:
        layer: Changed in place.
        kernel_initializer: A key of `INITIALIZERS`.

    Returns:
        The same layer.
    """
    INITIALIZERS[kernel_initializer](layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
