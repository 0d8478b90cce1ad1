"""Activations of `weight_transfer.layer_types.activations`, each by the formula of Keras.

At a kink each has the gradient that TensorFlow gives it there, which is not always PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.layers.layer_module import Inputs, LayerModule, TorchShapes, plain
from weight_transfer.layer_types.activations import rounded
from weight_transfer.layer_types.layer_type import Settings, Shape


def activation_module(settings: Mapping[str, Any]) -> nn.Module:
    """Builds an activation.

    Args:
        settings: Its ``name`` and what that needs; an ``axis`` is PyTorch's, the batch's being 0.
    """
    name, arguments = settings["name"], {key: value for key, value in settings.items() if key != "name"}
    if name in FORMULAS:
        return Formula(name, **arguments)
    module, words = _MODULES[name]
    return module(**{words[key]: value for key, value in arguments.items()}, **_CONSTANTS.get(name, {}))


def read_activation(module: nn.Module) -> Settings:
    """Returns the settings of an activation, one of `ACTIVATION_MODULES`: the inverse of `activation_module`."""
    if isinstance(module, Formula):
        return {"name": module.name, **module.arguments}
    name, (_, words) = next(row for row in _MODULES.items() if row[1][0] is type(module))
    return {"name": name, **{key: plain(getattr(module, word)) for key, word in words.items()}}


class Formula(nn.Module):
    """An activation for which `torch.nn` has no module.

    Args:
        name: Key of `FORMULAS`.
        arguments: Constants of the formula.
    """

    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__()
        self.name = name
        self.arguments = arguments

    def forward(self, x: Tensor) -> Tensor:
        """Applies the formula element by element, or along its axis."""
        return applied(x, self.name, self.arguments)

    def extra_repr(self) -> str:
        """Shows the formula's name and constants in the printed module."""
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.arguments.items())])


def clipped_relu(x: Tensor, max_value: float | None, negative_slope: float, threshold: float) -> Tensor:
    """Zero up to the threshold (or a slope), x above it, at most max_value.

    Source: keras/src/activations/activations.py, ReLU.static_call. With a threshold below zero and a
    max_value, the clipping cuts what is negative, as in Keras.
    """
    relu = F.relu6 if max_value == 6 else F.relu  # which differ where the gradient is cut: at 6, or behind it
    above = torch.where(x > threshold, x, 0.0) if threshold else relu(x)
    if max_value is not None:
        above = clip(above, 0.0, max_value)
    return above - negative_slope * F.relu(threshold - x) if negative_slope else above


@torch.fx.wrap  # one node of a traced graph: what happens inside may depend on precision or rank
def applied(x: Tensor, name: str, arguments: Mapping[str, Any]) -> Tensor:
    """Applies one of `FORMULAS`."""
    return FORMULAS[name](x, **arguments)


def gelu(x: Tensor, approximate: bool) -> Tensor:
    """PyTorch's gelu; in float64 with the constants that TensorFlow rounds to float32 in any precision.

    Source: tensorflow/python/ops/nn_ops.py, gelu.
    """
    if x.dtype != torch.float64:
        return F.gelu(x, approximate="tanh" if approximate else "none")
    if approximate:
        return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + rounded(0.044715) * x**3)))
    return 0.5 * x * torch.erfc(-x * rounded(0.7071067811865476))


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """`tf.clip_by_value`, which passes gradients on at both ends; whether `torch.clamp` does depends on its version."""
    return torch.where(x < low, low, torch.where(x > high, high, x))


def selu(x: Tensor) -> Tensor:
    """PyTorch's selu, whose gradient at 0 is that of the line above it."""
    return torch.where(x < 0, F.selu(x), 1.0507009873554805 * x)


def celu(x: Tensor, alpha: float) -> Tensor:
    """A line above 0 and an exponential below it; at 0 both pass the gradient on, as in Keras."""
    return torch.where(x >= 0, x, 0.0) + alpha * torch.expm1(torch.where(x <= 0, x, 0.0) / alpha)


def hard_tanh(x: Tensor) -> Tensor:
    """Clipped to [-1, 1]."""
    return clip(x, -1.0, 1.0)


def hard_sigmoid(x: Tensor, slope: float) -> Tensor:
    """A line through (0, 0.5), from 0 to 1: in Keras 3 a relu6 with slope 1/6, before it 0.2 and clipped."""
    return F.relu6(x + 3) / 6 if slope == 1 / 6 else clip(x * slope + 0.5, 0.0, 1.0)


def squareplus(x: Tensor, b: float) -> Tensor:
    """A smooth relu: half of x + sqrt(x² + b)."""
    return (x + torch.sqrt(x * x + b)) / 2


def sparse_plus(x: Tensor) -> Tensor:
    """Zero up to -1, x from 1 on, a parabola in between."""
    return torch.where(x <= -1, 0.0, torch.where(x < 1, (x + 1) ** 2 / 4, x))


def sparse_sigmoid(x: Tensor) -> Tensor:
    """Zero up to -1, one from 1 on, a line in between."""
    return torch.where(x <= -1, 0.0, torch.where(x < 1, (x + 1) * 0.5, 1.0))


def sparsemax(x: Tensor, axis: int) -> Tensor:
    """Keras's sparsemax, which adds up all running sums of the support where the paper takes the last.

    Source: keras/src/backend/tensorflow/nn.py, sparsemax.
    """
    ordered = x.sort(dim=axis, descending=True).values
    total = ordered.cumsum(dim=axis)
    last_shape = [1] * x.dim()
    last_shape[axis] = -1
    rank = torch.arange(1, x.shape[axis] + 1, dtype=x.dtype, device=x.device).reshape(last_shape)
    support = ordered - (total - 1) / rank > 0
    count = support.to(x.dtype).sum(dim=axis, keepdim=True)
    tau = (torch.where(support, total, 0.0).sum(dim=axis, keepdim=True) - 1) / count
    return torch.where(x >= tau, x - tau, 0.0)


FORMULAS: Mapping[str, Callable[..., Tensor]] = {
    "celu": celu,
    "clipped_relu": clipped_relu,
    "exponential": torch.exp,
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_tanh": hard_tanh,
    "selu": selu,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "squareplus": squareplus,
}

# By name, PyTorch's module and what it calls the settings.
_MODULES: Mapping[str, tuple[type[nn.Module], Mapping[str, str]]] = {
    "linear": (nn.Identity, {}),
    "relu": (nn.ReLU, {}),
    "relu6": (nn.ReLU6, {}),
    "leaky_relu": (nn.LeakyReLU, {"negative_slope": "negative_slope"}),
    "elu": (nn.ELU, {"alpha": "alpha"}),
    "silu": (nn.SiLU, {}),
    "mish": (nn.Mish, {}),
    "softmax": (nn.Softmax, {"axis": "dim"}),
    "log_softmax": (nn.LogSoftmax, {"axis": "dim"}),
    "softplus": (nn.Softplus, {}),
    "softsign": (nn.Softsign, {}),
    "sigmoid": (nn.Sigmoid, {}),
    "hard_silu": (nn.Hardswish, {}),
    "tanh": (nn.Tanh, {}),
    "log_sigmoid": (nn.LogSigmoid, {}),
    "tanh_shrink": (nn.Tanhshrink, {}),
    "soft_shrink": (nn.Softshrink, {"threshold": "lambd"}),
    "hard_shrink": (nn.Hardshrink, {"threshold": "lambd"}),
}
# From 20 on, PyTorch's default, log(1 + exp(x)) differs from x by 2e-9.
_CONSTANTS: Mapping[str, Mapping[str, float]] = {"softplus": {"threshold": 40}}
ACTIVATION_MODULES: tuple[type[nn.Module], ...] = (Formula, *(module for module, _ in _MODULES.values()))


def _activation(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return activation_module(settings["activation"] or {"name": "linear"})


def _read_argument(module: nn.Module, inputs: Inputs) -> Settings:
    read = read_activation(module)
    return {"activation": None if read["name"] == "linear" else read}


def _activation_layer(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return activation_module(settings)


def _read_layer(module: nn.Module, inputs: Inputs) -> Settings:
    return read_activation(module)


_LAYER = LayerModule(_activation_layer, dict.fromkeys(ACTIVATION_MODULES, _read_layer))

ACTIVATION_LAYERS: Mapping[str, LayerModule] = {
    "Activation": LayerModule(_activation, dict.fromkeys(ACTIVATION_MODULES, _read_argument)),
    **dict.fromkeys(("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax"), _LAYER),
}
