"""Operations on tensors that a model holds as layers; settings from `weight_transfer.layer_types.operations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnet_torch.layers.layer_module import Inputs, LayerModule, Readers, TorchShapes, attributes
from resnet_torch.layers.merges import MERGE_READERS, OPERATIONS, merge
from resnet_torch.layers.preprocessing_layers import constant_like
from resnet_torch.layers.shapes import channels_move
from weight_transfer.layer_types.layer_type import Settings, Shape
from weight_transfer.layer_types.operations import OPERATION_TYPES


class WithConstant(nn.Module):
    """An operation on a tensor and a constant.

    Args:
        operation: Key of `OPERATIONS`.
        constant: A number, or nested lists that broadcast against (N, C, ...).
        constant_first: Whether it is the first operand.
    """

    def __init__(self, operation: str, constant: float | list[Any], constant_first: bool) -> None:
        super().__init__()
        self.operation = operation
        self.constant = constant
        self.constant_first = constant_first

    def forward(self, x: Tensor) -> Tensor:
        """Operates on (N, C, ...)."""
        tensor_only = self.operation in ("maximum", "minimum")
        constant = x.new_tensor(self.constant) if tensor_only else constant_like(x, self.constant)
        operands = (constant, x) if self.constant_first else (x, constant)
        return OPERATIONS[self.operation](*operands)

    def extra_repr(self) -> str:
        """Shows the operation in the printed module."""
        return f"{self.operation}, {self.constant}, constant_first={self.constant_first}"


class Negative(nn.Module):
    """Changes the sign."""

    def forward(self, x: Tensor) -> Tensor:
        """Negates a tensor."""
        return -x


class Mirror(nn.Module):
    """Reverses an axis, as ``[..., ::-1]`` does to turn RGB into BGR.

    Args:
        axis: PyTorch's, the batch's being 0.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Reverses an axis of (N, C, ...)."""
        return x.flip(self.axis)

    def extra_repr(self) -> str:
        """Shows the axis in the printed module."""
        return f"axis={self.axis}"


class Slice(nn.Module):
    """Takes a part of an axis.

    Args:
        axis: PyTorch's, the batch's being 0.
        start: First place.
        stop: Behind the last place.
        step: Between places, positive.
    """

    def __init__(self, axis: int, start: int, stop: int, step: int) -> None:
        super().__init__()
        self.index = (slice(None),) * axis + (slice(start, stop, step),)

    def forward(self, x: Tensor) -> Tensor:
        """Slices (N, C, ...)."""
        return x[self.index]

    def extra_repr(self) -> str:
        """Shows the slice in the printed module."""
        return f"{self.index}"


class Select(nn.Module):
    """Takes one place of an axis, which goes.

    Args:
        axis: PyTorch's, the batch's being 0.
        index: Which place.
        to_last: Whether Keras holds the channels of what is left last, and the axis that goes stood there.
    """

    def __init__(self, axis: int, index: int, to_last: bool) -> None:
        super().__init__()
        self.axis = axis
        self.index = index
        self.to_last = to_last

    def forward(self, x: Tensor) -> Tensor:
        """Selects from (N, C, ...)."""
        selected = x.select(self.axis, self.index)
        return selected.movedim(-1, 1) if self.to_last else selected

    def extra_repr(self) -> str:
        """Shows axis and place in the printed module."""
        return f"axis={self.axis}, index={self.index}"


class Stack(nn.Module):
    """Stacks tensors along a new axis, in Keras's layout.

    Args:
        keras_axis: The batch's being 0.
        from_last: Whether Keras holds the inputs' channels last.
        to_last: Whether Keras holds the output's channels last.
    """

    def __init__(self, keras_axis: int, from_last: bool, to_last: bool) -> None:
        super().__init__()
        self.keras_axis = keras_axis
        self.from_last = from_last
        self.to_last = to_last

    def forward(self, *inputs: Tensor) -> Tensor:
        """Stacks tensors of one shape."""
        keras = [x.movedim(1, -1) if self.from_last else x for x in inputs]
        stacked = torch.stack(keras, dim=self.keras_axis)
        return stacked.movedim(-1, 1) if self.to_last else stacked

    def extra_repr(self) -> str:
        """Shows the axis in the printed module."""
        return f"keras_axis={self.keras_axis}"


def _get_item(settings: Settings, rank: int) -> nn.Module:
    axis = settings["axis"]
    if settings.get("mirrored"):
        return Mirror(axis)
    if "index" not in settings:
        return Slice(axis, settings["start"], settings["stop"], settings["step"])
    # What was left of the last axis is last in PyTorch, and has to go first; any other axis goes without a trace.
    was_last = settings["keras_axis"] == rank
    return Select(axis, settings["index"], was_last and channels_move(rank - 1, settings["data_format"]))


def operation(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds an operation of any class."""
    name, rank = settings["operation"], len(in_shapes[0])
    if name in _UNARY:
        return _UNARY[name]()
    if name == "get_item":
        return _get_item(settings, rank)
    if name == "stack":
        data_format = settings["data_format"]
        return Stack(settings["keras_axis"], channels_move(rank, data_format), channels_move(rank + 1, data_format))
    if "constant" in settings:
        return WithConstant(name, settings["constant"], settings["constant_first"])
    return merge(settings, torch_shapes, in_shapes)


_UNARY: Mapping[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "negative": Negative,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
}


def _read_unary(module: nn.Module, inputs: Inputs) -> Settings:
    return {"operation": next(name for name, unary in _UNARY.items() if unary is type(module))}


def _read_mirror(module: Any, inputs: Inputs) -> Settings:
    return {**_item(module.axis, inputs), "mirrored": True}


def _read_slice(module: Any, inputs: Inputs) -> Settings:
    *before, part = module.index
    return {**_item(len(before), inputs), "start": part.start, "stop": part.stop, "step": part.step}


def _read_select(module: Any, inputs: Inputs) -> Settings:
    return {**_item(module.axis, inputs), "index": module.index}


def _item(axis: int, inputs: Inputs) -> Settings:
    return {"operation": "get_item", "axis": axis, "keras_axis": inputs.keras_axis(axis)}


def _read_stack(module: Any, inputs: Inputs) -> Settings:
    return {"operation": "stack", "keras_axis": module.keras_axis}


_READERS: Readers = {
    **MERGE_READERS,
    **dict.fromkeys(_UNARY.values(), _read_unary),
    Mirror: _read_mirror,
    Slice: _read_slice,
    Select: _read_select,
    Stack: _read_stack,
    WithConstant: attributes(operation="operation", constant="constant", constant_first="constant_first"),
}

OPERATION_LAYERS: Mapping[str, LayerModule] = dict.fromkeys(
    OPERATION_TYPES,
    LayerModule(operation, _READERS, {"dtype": "a cast to a float is left out; the network computes in one precision"}),
)
