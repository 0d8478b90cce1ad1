"""Merging layers: elementwise, broadcasting as Keras does, or a concatenation."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from resnet_torch.layers.layer_module import Inputs, LayerModule, Readers, TorchShapes, attributes
from weight_transfer.layer_types.layer_type import Settings, Shape


def maximum(first: Tensor, second: Tensor) -> Tensor:
    """The greater of each two numbers; where they are equal the first has the gradient, as in TensorFlow."""
    return torch.where((first >= second) | first.isnan(), first, second)


def minimum(first: Tensor, second: Tensor) -> Tensor:
    """The smaller of each two numbers; where they are equal the first has the gradient, as in TensorFlow."""
    return torch.where((first <= second) | first.isnan(), first, second)


OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "average": operator.add,
    "maximum": maximum,
    "minimum": minimum,
}


class Merge(nn.Module):
    """Merges inputs element by element, from the first to the last.

    Keras gives inputs of lower rank new axes of size one behind the batch's. With the channels in
    front, those stand behind the channels.

    Args:
        operation: Key of `OPERATIONS`.
        missing_axes: How many axes each input lacks of the greatest rank.
        new_axis: Where they go.
    """

    def __init__(self, operation: str, missing_axes: Sequence[int], new_axis: int) -> None:
        super().__init__()
        self.operation = operation
        self.missing_axes = tuple(missing_axes)
        self.new_axis = new_axis

    def forward(self, *inputs: Tensor) -> Tensor:
        """Merges tensors (N, C, ...) that broadcast."""
        widened = [self._widened(x, missing) for x, missing in zip(inputs, self.missing_axes, strict=True)]
        merged = reduce(OPERATIONS[self.operation], widened)
        return merged / len(self.missing_axes) if self.operation == "average" else merged

    def _widened(self, x: Tensor, missing: int) -> Tensor:
        for _ in range(missing):
            x = x.unsqueeze(self.new_axis)
        return x

    def extra_repr(self) -> str:
        """Shows the operation in the printed module."""
        return self.operation


class Concatenate(nn.Module):
    """Joins inputs along an axis.

    Args:
        axis: PyTorch's, the batch's being 0.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        """Joins tensors (N, C, ...) that agree in all other axes."""
        return torch.cat(inputs, dim=self.axis)

    def extra_repr(self) -> str:
        """Shows the axis in the printed module."""
        return f"axis={self.axis}"


def merge(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds a merging layer of any class."""
    if settings["operation"] == "concatenate":
        return Concatenate(settings["axis"])
    rank = max(len(shape) for shape in in_shapes)
    new_axis = 2 if settings["data_format"] == "channels_last" else 1
    return Merge(settings["operation"], [rank - len(shape) for shape in in_shapes], new_axis)


def _read_concatenate(module: Any, inputs: Inputs) -> Settings:
    return {"operation": "concatenate", "axis": module.axis, "keras_axis": inputs.keras_axis(module.axis)}


MERGE_READERS: Readers = {
    Merge: attributes(operation="operation"),
    Concatenate: _read_concatenate,
}

MERGE_LAYERS: Mapping[str, LayerModule] = dict.fromkeys(
    ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Merge"),
    LayerModule(merge, MERGE_READERS),
)
