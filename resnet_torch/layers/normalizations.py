"""Normalizations along any axis, with or without gamma and beta; and gamma and beta alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.batch_norm import BatchNorm2d, batch_norm
from resnet_torch.layers.layer_module import Inputs, LayerModule, TorchShapes, attributes
from resnet_torch.moving_variance import increment_of
from weight_transfer.layer_types import Settings, Shape
from weight_transfer.layer_types.normalizations import BATCH_NORMALIZATIONS

torch.fx.wrap("batch_norm")  # one node of a traced graph; of an imported function, each module has to say so
KERAS_EPSILON = 1e-7  # the least standard deviation: keras.config.epsilon()


class BatchNorm(BatchNorm2d):
    """`resnet_torch.batch_norm.BatchNorm2d` for tensors of any rank, along any axis.

    Args:
        num_features: Size of the axis.
        axis: Whose places are normalized each by itself.
        scale: Whether there is a gamma, ``weight``.
        center: Whether there is a beta, ``bias``.
        fused: Whether tf_keras has a fused kernel for such tensors. Without one its moving
            variance moves as Keras 3's.
        **arguments: `BatchNorm2d`'s: eps, momentum, moving_variance.

    Attributes:
        both_modes: Whether one forward pass calls it in both modes: the gradient of a call in inference mode then
            needs the statistics as they were, which a call in training mode moves.
    """

    # Torch declares a Parameter, and registers None for one that is missing.
    weight: nn.Parameter | None  # type: ignore[assignment]
    bias: nn.Parameter | None  # type: ignore[assignment]

    def __init__(
        self,
        num_features: int,
        axis: int = 1,
        scale: bool = True,
        center: bool = True,
        fused: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(num_features, **arguments)
        self.axis = axis
        self.fused = fused
        self.both_modes = False
        if not scale:
            self.register_parameter("weight", None)
        if not center:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes (N, C, ...): by its own statistics in training, by the moving ones in inference."""
        x = x if self.axis == 1 else x.movedim(self.axis, 1)
        y = self._training(x) if self.training else self._inference(x)
        return y if self.axis == 1 else y.movedim(1, self.axis)

    def _inference(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.both_modes:
            mean, variance = mean.clone(), variance.clone()
        return batch_norm(x, mean, variance, self.weight, self.bias, False, self.momentum, self.eps)

    def _training(self, x: Tensor) -> Tensor:
        gamma = torch.ones_like(self.running_mean) if self.weight is None else self.weight
        beta = torch.zeros_like(self.running_mean) if self.bias is None else self.bias
        moving = (self.running_mean, self.running_var, self.num_batches_tracked)
        increment = increment_of(self.moving_variance, self.fused, images=x.ndim == 4)
        return self.training_step(x, *moving, gamma, beta, self.momentum, self.eps, increment)

    def extra_repr(self) -> str:
        """Shows the axis in the printed module."""
        return f"{super().extra_repr()}, axis={self.axis}"


class _Affine(nn.Module):
    """What layer norm and group norm share: an epsilon, and a gamma and beta that may both be missing."""

    def __init__(self, shape: Sequence[int], eps: float, scale: bool, center: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(tuple(shape))) if scale else None
        self.bias = nn.Parameter(torch.zeros(tuple(shape))) if center else None


class LayerNorm(_Affine):
    """Layer norm over any axes of (N, C, ...).

    Args:
        shape: Sizes of the axes.
        axes: Ascending.
        eps: Added to the variance.
        scale: Whether there is a gamma, ``weight``.
        center: Whether there is a beta, ``bias``.
    """

    def __init__(
        self, shape: Sequence[int], axes: Sequence[int], eps: float = 1e-3, scale: bool = True, center: bool = True
    ) -> None:
        super().__init__(shape, eps, scale, center)
        self.shape = tuple(shape)
        self.axes = tuple(axes)
        self.last = tuple(range(-len(axes), 0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes each example by its own mean and variance along the axes."""
        y = F.layer_norm(x.movedim(self.axes, self.last), self.shape, self.weight, self.bias, self.eps)
        return y.movedim(self.last, self.axes)

    def extra_repr(self) -> str:
        """Shows the axes in the printed module."""
        return f"{self.shape}, axes={self.axes}, eps={self.eps}"


class GroupNorm(_Affine):
    """Group norm along any axis of (N, C, ...).

    Args:
        num_groups: Into which the axis is cut.
        num_features: Size of the axis.
        axis: Which axis.
        eps: Added to the variance.
        scale: Whether there is a gamma, ``weight``.
        center: Whether there is a beta, ``bias``.
    """

    def __init__(
        self,
        num_groups: int,
        num_features: int,
        axis: int = 1,
        eps: float = 1e-3,
        scale: bool = True,
        center: bool = True,
    ) -> None:
        super().__init__((num_features,), eps, scale, center)
        self.num_groups = num_groups
        self.num_features = num_features
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes each group of each example by its own mean and variance."""
        # Not F.group_norm, which refuses a group of one value; Keras makes it 0.
        y = torch.group_norm(x.movedim(self.axis, 1), self.num_groups, self.weight, self.bias, self.eps)
        return y.movedim(1, self.axis)

    def extra_repr(self) -> str:
        """Shows the groups in the printed module."""
        return f"{self.num_groups}, axis={self.axis}, eps={self.eps}"


class DataNorm(nn.Module):
    """Keras's `Normalization`: less the mean, divided by the standard deviation, of a data set; or back.

    Args:
        shape: Of the statistics, 1 along axes that share one: (C, ...).
        mean: Given in the config, in the order of ``shape``; None where it is one of the weights.
        variance: As ``mean``.
        stored_shape: Of the statistics as weights: ``shape`` without the shared axes.
        invert: Whether to multiply and add, which undoes what the layer does otherwise.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        stored_shape: Sequence[int],
        mean: Sequence[float] | None = None,
        variance: Sequence[float] | None = None,
        invert: bool = False,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.invert = invert
        self.given = {} if mean is None else {"mean": mean, "variance": variance}
        for name, start in (("mean", 0.0), ("variance", 1.0)):
            values = torch.tensor(self.given.get(name, start)).expand(math.prod(stored_shape))
            self.register_buffer(name, values.reshape(tuple(stored_shape)).clone(), persistent=not self.given)
        if not self.given:
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the like of ``x``, (N, C, ...)."""
        mean, variance = self.mean.reshape(self.shape), self.variance.reshape(self.shape)
        deviation = variance.sqrt().clamp(min=KERAS_EPSILON)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def extra_repr(self) -> str:
        """Shows the shape in the printed module."""
        return f"{self.shape}{', invert=True' if self.invert else ''}"


class Scale(nn.Module):
    """Caffe's scale layer, as flyyufelix/cnn_finetune has it in Keras: x * weight + bias.

    Args:
        num_features: Size of the axis.
        axis: Whose places have a weight and a bias each.
        rank: Axes of the input, the batch's included.
    """

    def __init__(self, num_features: int, axis: int = 1, rank: int = 4) -> None:
        super().__init__()
        self.num_features = num_features
        self.axis = axis
        self.rank = rank
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the like of ``x``, (N, C, ...)."""
        shape = (-1, *(1,) * (self.rank - 1 - self.axis))
        return x * self.weight.reshape(shape) + self.bias.reshape(shape)

    def extra_repr(self) -> str:
        """Shows the axis in the printed module."""
        return f"{self.num_features}, axis={self.axis}"


def build_batch_norm(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``BatchNormalization``."""
    rank, axis = len(in_shapes[0]), settings["axis"]
    # Its fused kernels take the channels of an image or a volume first or last, whatever the data format.
    first, last = (2, 1) if settings["data_format"] == "channels_last" else (1, rank)
    return BatchNorm(
        torch_shapes["running_mean"][0],
        axis=axis,
        scale=settings["scale"],
        center=settings["center"],
        fused=rank in (3, 4) and axis in (first, last),
        eps=settings["epsilon"],
        momentum=1 - settings["momentum"],
    )


def build_layer_norm(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``LayerNormalization``."""
    axes = sorted(settings["axis"])
    sizes = _sizes(settings, in_shapes[0])
    shape = [sizes[axis - 1] for axis in axes]
    return LayerNorm(shape, axes, settings["epsilon"], settings["scale"], settings["center"])


def build_group_norm(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``GroupNormalization``."""
    axis = settings["axis"]
    channels = _sizes(settings, in_shapes[0])[axis - 1]
    return GroupNorm(settings["groups"], channels, axis, settings["epsilon"], settings["scale"], settings["center"])


def build_data_norm(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``Normalization``."""
    sizes = _sizes(settings, in_shapes[0])
    axes = sorted(settings["axis"])
    stored = [sizes[axis - 1] for axis in axes]
    shape = [1] * len(sizes)
    for axis, size in zip(axes, stored, strict=True):
        shape[axis - 1] = size
    return DataNorm(shape, stored, settings["mean"], settings["variance"], settings.get("invert", False))


def build_scale(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``Scale``."""
    return Scale(torch_shapes["weight"][0], settings["axis"], rank=len(in_shapes[0]) + 1)


def _sizes(settings: Settings, in_shape: Shape) -> Shape:
    """The input's sizes in PyTorch's order, without the batch's."""
    return in_shape if settings["data_format"] == "channels_first" else (*in_shape[-1:], *in_shape[:-1])


def read_batch_norm(norm: Any, inputs: Inputs) -> Settings:
    """Reads ``BatchNormalization``, of a native ResNet too."""
    axis = norm.axis if isinstance(norm, BatchNorm) else 1
    momentum = None if norm.momentum is None else 1 - norm.momentum
    return {"axis": axis, "momentum": momentum, **_affine(norm)}


def _read_layer_norm(norm: Any, inputs: Inputs) -> Settings:
    return {"axis": list(norm.axes), **_affine(norm)}


def _read_group_norm(norm: Any, inputs: Inputs) -> Settings:
    return {"axis": norm.axis, "groups": norm.num_groups, **_affine(norm)}


def _affine(norm: Any) -> Settings:
    return {"epsilon": norm.eps, "center": norm.bias is not None, "scale": norm.weight is not None}


def _read_data_norm(norm: Any, inputs: Inputs) -> Settings:
    axes = [axis for axis, size in enumerate(norm.shape, 1) if size != 1]
    return {"axis": axes, "invert": norm.invert, **{key: _statistic(norm, key) for key in ("mean", "variance")}}


def _statistic(norm: Any, key: str) -> list[float] | None:
    """A statistic that is no weight; as it was given where the module holds it cast to a lower precision or back."""
    given = norm.given.get(key)
    if given is None:
        return None
    live = getattr(norm, key)
    exact = torch.tensor(given).expand(live.numel())
    if live.is_meta or any(torch.equal(exact.to(dtype).to(live), live.flatten()) for dtype in _FLOATS):
        live = exact
    numbers: list[float] = live.flatten().tolist()
    return numbers


_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_BATCH_NORM = LayerModule(build_batch_norm, dict.fromkeys((BatchNorm, BatchNorm2d), read_batch_norm))

NORMALIZATION_LAYERS: Mapping[str, LayerModule] = {
    **dict.fromkeys(BATCH_NORMALIZATIONS, _BATCH_NORM),
    "LayerNormalization": LayerModule(build_layer_norm, {LayerNorm: _read_layer_norm}),
    "GroupNormalization": LayerModule(build_group_norm, {GroupNorm: _read_group_norm}),
    "Normalization": LayerModule(build_data_norm, {DataNorm: _read_data_norm}),
    "Scale": LayerModule(build_scale, {Scale: attributes(axis="axis")}),
}
