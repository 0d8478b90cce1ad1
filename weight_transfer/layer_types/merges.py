"""Layers that merge several inputs into one.

Keras 3 writes its operations (`keras.ops.add`, or ``x + 1`` on a symbolic tensor) under the same
class names as its merging layers; those with a constant are read by `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape

ELEMENTWISE = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
# Source: keras 1.2.2, keras/engine/topology.py, Merge.
KERAS_1_MODES = {"sum": "add", "mul": "multiply", "ave": "average", "max": "maximum", "concat": "concatenate"}


def merge_settings(options: Options, operation: str) -> Settings:
    """Returns the settings of an elementwise merge of two or more tensors, which broadcast as in Keras.

    Raises:
        ArchitectureError: A subtraction of other than two, or an operation on tensors of unequal rank,
            which, unlike a layer, would broadcast the batch's axis too.
    """
    if operation in ("subtract", "divide") and len(options.in_shapes) != 2:
        raise options.refusal(f"takes two inputs. Received: {len(options.in_shapes)}")
    is_layer = options.take("trainable") is not None or options.class_name == "Merge"
    if len({len(shape) for shape in options.in_shapes}) > 1 and not is_layer:
        raise options.refusal(f"an operation on tensors of unequal rank is not supported: {options.in_shapes}")
    try:
        broadcast_shape(options.in_shapes)
    except ValueError as error:
        raise options.refusal(str(error)) from error
    return {"operation": operation, "data_format": options.data_format}


def concatenate_settings(options: Options, keras_axis: int) -> Settings:
    """Returns the settings of a concatenation along an axis of Keras's, the batch's being 0.

    Raises:
        ArchitectureError: The inputs' ranks or other axes differ, or the axis is the batch's.
    """
    rank = len(options.in_shapes[0])
    axis = keras_axis % (rank + 1)
    if axis == 0 or not -rank <= keras_axis <= rank or {len(shape) for shape in options.in_shapes} != {rank}:
        raise options.refusal(f"cannot concatenate {options.in_shapes} along axis {keras_axis}")
    others = {shape[: axis - 1] + shape[axis:] for shape in options.in_shapes if None not in shape}
    if len(others) > 1:
        raise options.refusal(f"cannot concatenate {options.in_shapes} along axis {keras_axis}")
    return {"operation": "concatenate", "axis": options.axis(axis), "keras_axis": axis}


def broadcast_shape(shapes: Sequence[Shape]) -> Shape:
    """Returns the shape that tensors of these shapes have together, aligned at their last axes.

    Raises:
        ValueError: They do not broadcast.
    """
    return reduce(_broadcast_two, shapes)


def _broadcast_two(first: Shape, second: Shape) -> Shape:
    rank = max(len(first), len(second))
    pairs = zip(*((1,) * (rank - len(shape)) + shape for shape in (first, second)), strict=True)
    sizes: list[int | None] = []
    for size, other in pairs:
        if size != other and None not in (size, other) and 1 not in (size, other):
            raise ValueError(f"shapes {first} and {second} do not broadcast")
        sizes.append(other if size == 1 else size if other == 1 else None if None in (size, other) else size)
    return tuple(sizes)


def merged_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    """Returns the output shape of an elementwise merge or a concatenation."""
    if settings["operation"] != "concatenate":
        return broadcast_shape(in_shapes)
    axis = settings["keras_axis"] - 1
    sizes = [shape[axis] for shape in in_shapes]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return (*in_shapes[0][:axis], total, *in_shapes[0][axis + 1 :])


def _elementwise(operation: str) -> Callable[[Options], Settings]:
    return lambda options: merge_settings(options, operation)


def _concatenate(options: Options) -> Settings:
    return concatenate_settings(options, int(options.take("axis", -1)))


def _keras_1_merge(options: Options) -> Settings:
    mode, axis = options.take("mode", "sum"), int(options.take("concat_axis", -1))
    for unused in ("layers", "mode_type", "output_shape", "output_shape_type", "output_mask", "arguments"):
        options.take(unused)
    options.take("output_mask_type")
    options.take("dot_axes")
    if mode not in KERAS_1_MODES:
        raise options.refusal(f"mode={mode!r} is not supported. Expected one of {sorted(KERAS_1_MODES)}")
    if mode == "concat":
        return concatenate_settings(options, axis)
    return merge_settings(options, KERAS_1_MODES[mode])


MERGE_TYPES: Mapping[str, LayerType] = {
    **{name: LayerType(name, _elementwise(operation), merged_shape) for name, operation in ELEMENTWISE.items()},
    "Concatenate": LayerType("Concatenate", _concatenate, merged_shape),
    "Merge": LayerType("Merge", _keras_1_merge, merged_shape),
}
