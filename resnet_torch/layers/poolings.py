"""Pooling layers over one, two or three spatial axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.layers.layer_module import Inputs, LayerModule, TorchShapes, attributes, per_axis
from resnet_torch.padding import pad_axes, same_padding
from weight_transfer.layer_types.layer_type import Settings, Shape

MODULES: Mapping[str, tuple[type[nn.Module], ...]] = {
    "Max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "Average": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
}
FUNCTIONS: Mapping[str, tuple[Callable[..., Tensor], ...]] = {
    "Max": (F.max_pool1d, F.max_pool2d, F.max_pool3d),
    "Average": (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
}


class SamePool(nn.Module):
    """Pools with TensorFlow's padding 'same', whose added elements are no one's maximum and in no average.

    Args:
        kind: ``Max`` or ``Average``.
        pool_size: Of the window, per axis.
        strides: Of the window, per axis.
    """

    def __init__(self, kind: str, pool_size: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.kind = kind
        self.pool_size = list(pool_size)
        self.strides = list(strides)

    def forward(self, x: Tensor) -> Tensor:
        """Pools (N, C, *sizes) to (N, C, *ceil(sizes / strides))."""
        return same_pool(x, self.kind, self.pool_size, self.strides)

    def extra_repr(self) -> str:
        """Shows kind and window in the printed module."""
        return f"{self.kind}, pool_size={self.pool_size}, strides={self.strides}"


@torch.fx.wrap  # one node of a traced graph: what happens inside depends on the size
def same_pool(x: Tensor, kind: str, pool_size: list[int], strides: list[int]) -> Tensor:
    """Pools (N, C, *sizes) by TensorFlow's rule for 'same'."""
    sizes = zip(x.shape[2:], pool_size, strides, strict=True)
    return padded_pool(x, kind, pool_size, strides, [same_padding(*one) for one in sizes])


def padded_pool(
    x: Tensor, kind: str, pool_size: list[int], strides: list[int], pads: Sequence[tuple[int, int]]
) -> Tensor:
    """Pools (N, C, *sizes) padded before and behind each axis, by what is no one's maximum and in no average."""
    pool = FUNCTIONS[kind][len(pool_size) - 1]
    if kind == "Max":
        return pool(pad_axes(x, pads, float("-inf")), pool_size, strides)
    share_of_real = pool(pad_axes(torch.ones_like(x[:1, :1]), pads), pool_size, strides)
    return pool(pad_axes(x, pads), pool_size, strides) / share_of_real


class GlobalPool(nn.Module):
    """Pools all spatial axes to one value a channel.

    Args:
        kind: ``Max`` or ``Average``.
        rank: Number of spatial axes.
        keepdims: Whether they stay, of size one.
    """

    def __init__(self, kind: str, rank: int, keepdims: bool) -> None:
        super().__init__()
        self.kind = kind
        self.rank = rank
        self.axes = tuple(range(2, 2 + rank))
        self.keepdims = keepdims

    def forward(self, x: Tensor) -> Tensor:
        """Pools (N, C, *sizes) to (N, C) or (N, C, 1, ...)."""
        if self.kind == "Max":
            return x.amax(self.axes, keepdim=self.keepdims)
        return x.mean(self.axes, keepdim=self.keepdims)

    def extra_repr(self) -> str:
        """Shows the kind in the printed module."""
        return f"{self.kind}, axes={self.axes}, keepdims={self.keepdims}"


def _pooling(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    kind, pool_size, strides = settings["kind"], settings["pool_size"], settings["strides"]
    if settings["padding"] == "same":
        return SamePool(kind, pool_size, strides)
    return MODULES[kind][len(pool_size) - 1](tuple(pool_size), tuple(strides))


def _global_pooling(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return GlobalPool(settings["kind"], len(in_shapes[0]) - 1, settings["keepdims"])


def _read_pooling(pool: Any, inputs: Inputs) -> Settings:
    rank = len(inputs.shapes[0]) - 1
    if isinstance(pool, SamePool):
        return {"kind": pool.kind, "pool_size": pool.pool_size, "strides": pool.strides, "padding": "same"}
    sizes = {"pool_size": per_axis(pool.kernel_size, rank), "strides": per_axis(pool.stride, rank)}
    padding = per_axis(pool.padding, rank)
    kind = next(kind for kind, modules in MODULES.items() if type(pool) in modules)
    return {"kind": kind, **sizes, "padding": padding if any(padding) else "valid"}


_ALL: tuple[type[nn.Module], ...] = (SamePool, *(module for modules in MODULES.values() for module in modules))
_ROWS: Mapping[str, LayerModule] = {
    "": LayerModule(_pooling, dict.fromkeys(_ALL, _read_pooling)),
    "Global": LayerModule(_global_pooling, {GlobalPool: attributes(kind="kind", keepdims="keepdims")}),
}

POOLING_LAYERS: Mapping[str, LayerModule] = {
    f"{prefix}{kind}Pooling{rank}D": row for prefix, row in _ROWS.items() for kind in MODULES for rank in (1, 2, 3)
}
