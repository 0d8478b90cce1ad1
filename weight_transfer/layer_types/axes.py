"""Axes and sizes: where Keras holds them, and where PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weight_transfer.errors import ArchitectureError
from weight_transfer.layer_types.layer_type import DataFormat, Options, Settings, Shape, Weight


def data_format_of(options: Options) -> DataFormat:
    """Reads a layer's ``data_format`` (Keras 1: ``dim_ordering``), which must be the model's.

    Raises:
        ArchitectureError: The layer holds its channels elsewhere than the model.
    """
    value = options.take("data_format", options.data_format, "dim_ordering")
    value = {"tf": "channels_last", "th": "channels_first", "default": options.data_format}.get(value, value)
    if value != options.data_format:
        raise options.refusal(f"data_format={value!r} in a model whose data format is {options.data_format!r}")
    return options.data_format


def known_size(options: Options, keras_axis: int) -> int:
    """Returns the size of the first input along a Keras axis, the batch's being 0.

    Raises:
        ArchitectureError: There is no such axis, or its size is free, as the batch's always is.
    """
    shape = (None, *options.in_shapes[0])
    size = shape[keras_axis] if -len(shape) <= keras_axis < len(shape) else None
    if size is None:
        raise options.refusal(f"the weights need the size of axis {keras_axis}, which {shape} does not give")
    return size


def axes_of(options: Options, keras_axes: Sequence[int]) -> list[int]:
    """Returns PyTorch axes for Keras axes of known sizes, in the order given.

    Raises:
        ArchitectureError: A size is free, or the axes do not ascend. What Keras makes of others
            depends on its version, since it sorts them before or after it counts the negative ones.
    """
    rank = len(options.in_shapes[0]) + 1
    for axis in keras_axes:
        known_size(options, axis)
    positive = [axis % rank for axis in keras_axes]
    if positive != sorted(set(positive)):
        raise options.refusal(f"axis={list(keras_axes)} does not ascend")
    return [options.axis(axis) for axis in positive]


def sizes_along(in_shape: Shape, torch_axes: Sequence[int], data_format: DataFormat) -> tuple[int, ...]:
    """Returns the sizes of a Keras shape along PyTorch axes, the batch's being 0.

    Raises:
        ArchitectureError: One is free.
    """
    moved = in_shape if data_format == "channels_first" else (*in_shape[-1:], *in_shape[:-1])
    return tuple(fixed(moved[axis - 1]) for axis in torch_axes)


def fixed(size: int | None) -> int:
    """Returns a size that a weight has.

    Raises:
        ArchitectureError: It is free.
    """
    if size is None:
        raise ArchitectureError("the input of a layer with weights has a free size where a weight needs a fixed one.")
    return size


def weight_along(settings: Settings, in_shape: Shape, torch: str) -> Weight:
    """Returns a weight with one value for each place along ``settings["axis"]``."""
    axes = settings["axis"] if isinstance(settings["axis"], list) else [settings["axis"]]
    order = tuple(int(place) for place in np.argsort(axes))
    ascending = order == tuple(range(len(order)))
    return Weight(sizes_along(in_shape, axes, settings["data_format"]), torch, None if ascending else order)


def same_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    """Returns the shape of the first input."""
    return in_shapes[0]


def window_size(size: int, window: int, stride: int, padding: str) -> int:
    """Returns how many positions a window has along an axis of a size: the output's size.

    Args:
        size: Of the axis.
        window: How far the window reaches, dilation included.
        stride: From one position to the next.
        padding: ``valid`` puts nothing around the input; ``same`` and ``causal`` give one position for each stride.

    Source: compute_conv_output_shape in keras/src/ops/operation_utils.py, keras 3.15.1.
    """
    return (size - window) // stride + 1 if padding == "valid" else -(-size // stride)
