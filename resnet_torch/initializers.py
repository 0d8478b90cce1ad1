"""How Keras starts a layer's weights; PyTorch's own layers start otherwise.

The distributions are Keras's, the draws are PyTorch's: by `torch.manual_seed`, and not the numbers that
Keras draws of the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from weight_transfer.errors import TransferError, listing, nearest

# Standard deviation of a standard normal cut off at 2 and -2.
# Source: keras/src/initializers/random_initializers.py, VarianceScaling.
TRUNCATED_STDDEV = 0.87962566103423978

WeightLayer = TypeVar("WeightLayer", nn.Conv2d, nn.Linear)
Mode: TypeAlias = Literal["fan_in", "fan_out", "fan_avg"]
Distribution: TypeAlias = Literal["truncated_normal", "untruncated_normal", "uniform"]
Fill: TypeAlias = Callable[[Tensor], object]  # fills a tensor in place

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


def variance_scaling(
    scale: float = 1.0, mode: Mode = "fan_in", distribution: Distribution = "truncated_normal"
) -> Fill:
    """Draws with variance ``scale / n``, where n counts inputs, outputs or their mean.

    Args:
        scale: Above 0.
        mode: What n is. A bias (n,) has n inputs and n outputs.
        distribution: A normal of that variance after it is cut off at two sigma, one that is not cut, or even.

    Raises:
        TransferError: An argument is impossible.

    Source: Keras 3.15.1 keras/src/initializers/random_initializers.py, VarianceScaling and compute_fans.
    """
    if not scale > 0 or mode not in MODES or distribution not in ("normal", *DISTRIBUTIONS):
        raise TransferError(
            f"variance_scaling takes a scale above 0, a mode of {', '.join(MODES)} and a distribution of "
            f"{', '.join(DISTRIBUTIONS)}. Received: {scale=}, {mode=}, {distribution=}"
        )

    def fill(weight: Tensor) -> None:
        variance = scale / max(1.0, _fan(weight, mode))
        if distribution == "uniform":
            limit = math.sqrt(3 * variance)
            nn.init.uniform_(weight, -limit, limit)
        elif distribution == "untruncated_normal":
            nn.init.normal_(weight, std=math.sqrt(variance))
        else:
            _cut_normal(weight, 0.0, math.sqrt(variance) / TRUNCATED_STDDEV)

    return fill


def random_normal(mean: float = 0.0, stddev: float = 0.05) -> Fill:
    """Draws from a normal."""
    return lambda weight: nn.init.normal_(weight, mean, stddev)


def truncated_normal(mean: float = 0.0, stddev: float = 0.05) -> Fill:
    """Draws from a normal that is cut off at two ``stddev``, which makes its deviation smaller."""
    return lambda weight: _cut_normal(weight, mean, stddev)


def random_uniform(minval: float = -0.05, maxval: float = 0.05) -> Fill:
    """Draws evenly."""
    return lambda weight: nn.init.uniform_(weight, minval, maxval)


def orthogonal(gain: float = 1.0) -> Fill:
    """Draws a matrix (outputs, inputs) with orthogonal rows or columns of length ``gain``."""
    return lambda weight: nn.init.orthogonal_(weight, gain)


def identity(gain: float = 1.0) -> Fill:
    """Fills a matrix with ``gain`` on the diagonal."""

    def fill(weight: Tensor) -> None:
        nn.init.eye_(weight)
        with torch.no_grad():
            weight *= gain

    return fill


def constant(value: float = 0.0) -> Fill:
    """Fills with one number."""
    return lambda weight: nn.init.constant_(weight, value)


def _scaled(scale: float, mode: Mode, distribution: Distribution) -> Callable[[], Fill]:
    return lambda: variance_scaling(scale, mode, distribution)


# Source: Keras 3.15.1 keras/src/initializers/random_initializers.py and constant_initializers.py. He et al. 2015
# (arXiv:1502.01852), equation 10; Glorot and Bengio 2010, equation 16; LeCun et al. 1998, section 4.6.
INITIALIZERS: Mapping[str, Callable[..., Fill]] = {
    "he_normal": _scaled(2.0, "fan_in", "truncated_normal"),
    "he_uniform": _scaled(2.0, "fan_in", "uniform"),
    "glorot_normal": _scaled(1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": _scaled(1.0, "fan_avg", "uniform"),
    "lecun_normal": _scaled(1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": _scaled(1.0, "fan_in", "uniform"),
    "variance_scaling": variance_scaling,
    "random_normal": random_normal,
    "truncated_normal": truncated_normal,
    "random_uniform": random_uniform,
    "orthogonal": orthogonal,
    "identity": identity,
    "constant": constant,
    "zeros": lambda: constant(0.0),
    "ones": lambda: constant(1.0),
}
# Keras's other words. Source: keras/src/initializers/__init__.py.
ALIASES = {
    "normal": "random_normal",
    "uniform": "random_uniform",
    "zero": "zeros",
    "one": "ones",
    "orthogonal_initializer": "orthogonal",
    "identity_initializer": "identity",
}
WITHOUT_EFFECT = ("seed", "dtype")


def initializer_from_keras(config: str | Mapping[str, Any]) -> Fill:
    """Builds an initializer from its name or its config.

    Args:
        config: ``"he_normal"``, ``"HeNormal"``, or ``class_name`` and ``config`` as a layer's config holds them.

    Returns:
        What fills a weight in place: (out, in) of a linear layer, (out, in, ...) of a convolution, (n,).

    Raises:
        TransferError: There is no such initializer, or it does not take what its config holds.

    Example:
        >>> initializer_from_keras({"class_name": "HeNormal", "config": {"seed": None}})(linear.weight)
    """
    name, arguments = (config, {}) if isinstance(config, str) else (config.get("class_name"), config.get("config"))
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in str(name)).lstrip("_")
    found = ALIASES.get(words, words)
    if found not in INITIALIZERS:
        raise TransferError(
            f"No initializer {name!r}{nearest(found, list(INITIALIZERS))}. Known: {', '.join(INITIALIZERS)}."
        )
    held = dict(arguments or {}).items()
    given = {key: value for key, value in held if key not in WITHOUT_EFFECT and value is not None}
    try:
        return INITIALIZERS[found](**given)
    except TypeError as error:
        raise TransferError(f"{name} does not take what its config holds:{listing([str(error)])}") from None


def initialize(
    layer: WeightLayer,
    kernel_initializer: str | Mapping[str, Any],
    bias_initializer: str | Mapping[str, Any] = "zeros",
) -> WeightLayer:
    """Starts a convolution or dense layer as Keras does; without arguments there it is ``glorot_uniform``, zero bias.

    Args:
        layer: Changed in place.
        kernel_initializer: A name or config, see `initializer_from_keras`.
        bias_initializer: The same.

    Returns:
        The same layer.

    Raises:
        TransferError: There is no such initializer.
    """
    initializer_from_keras(kernel_initializer)(layer.weight)
    if layer.bias is not None:
        initializer_from_keras(bias_initializer)(layer.bias)
    return layer


def _fan(weight: Tensor, mode: Mode) -> float:
    """Inputs or outputs of one number, as Keras counts them; PyTorch has the outputs first."""
    outputs, inputs = (weight.numel(),) * 2
    if weight.ndim > 1:
        inputs = weight[0].numel()
        outputs = len(weight) * weight[0, 0].numel()
    return {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[mode]


def _cut_normal(weight: Tensor, mean: float, stddev: float) -> None:
    """A normal without what lies beyond two sigma; its deviation is `TRUNCATED_STDDEV` times smaller."""
    nn.init.trunc_normal_(weight, mean, stddev, mean - 2 * stddev, mean + 2 * stddev)
