"""Operations on tensors that a model holds as layers, such as what `preprocess_input` leaves behind.

tf.keras writes a `TFOpLambda` or `SlicingOpLambda` with the function's name in the config, Keras 3
a class per operation (`TrueDivide`, `GetItem`). The constants stand in the call and come here under
``arguments``. Every operation is recognised by its name and arguments; none is ever evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape
from weight_transfer.layer_types.merges import (
    ELEMENTWISE,
    broadcast_shape,
    concatenate_settings,
    merge_settings,
    merged_shape,
)
from weight_transfer.layer_types.preprocessing_layers import constant_of, stored_constant

# What a tf.keras layer says in ``function``, without a leading "tf.".
TF_FUNCTIONS = {
    "math.add": "add",
    "__operators__.add": "add",
    "nn.bias_add": "add",
    "math.subtract": "subtract",
    "math.multiply": "multiply",
    "math.truediv": "divide",
    "math.divide": "divide",
    "divide": "divide",
    "math.maximum": "maximum",
    "math.minimum": "minimum",
    "math.negative": "negative",
    "cast": "cast",
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "concat": "concatenate",
    "stack": "stack",
}
KERAS_3_CLASSES = {
    "Divide": "divide",
    "TrueDivide": "divide",
    "Negative": "negative",
    "Cast": "cast",
    "Stack": "stack",
}
FIRST = ("0", "x", "x1")  # names that the first operand has where the constant is it
SECOND = ("1", "y", "x2", "bias", "value")
IGNORED = ("name", "training", "data_format", "dtype", "axis")  # no constants to compute with
FLOATS = ("float16", "bfloat16", "float32", "float64")


def arguments_of(options: Options) -> dict[str, Any]:
    """Returns the constants of the call, by name or by position."""
    return dict(options.take("arguments", {}))


def operation_settings(options: Options, operation: str) -> Settings:
    """Returns the settings of an elementwise operation on tensors, or on one tensor and a constant.

    Raises:
        ArchitectureError: Its operands are none that can be imported.
    """
    arguments = arguments_of(options)
    operands = {key: value for key, value in arguments.items() if key not in IGNORED and value is not None}
    if not operands:
        return merge_settings(options, operation)
    if len(operands) > 1 or len(options.in_shapes) != 1 or not {*FIRST, *SECOND} & set(operands):
        raise options.refusal(f"{operation} with arguments {sorted(operands)} is not supported")
    ((key, value),) = operands.items()
    if arguments.get("data_format") == "NCHW":  # of tf.nn.bias_add: one value a channel, which stand first
        value = np.reshape(constant_of(options, value), (-1,) + (1,) * (len(options.in_shapes[0]) - 1)).tolist()
    return {
        "operation": operation,
        "constant": stored_constant(options, value),
        "constant_first": key in FIRST,
        "data_format": options.data_format,
    }


def _elementwise(operation: str) -> Callable[[Options], Settings]:
    return lambda options: operation_settings(options, operation)


def _operated(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    """The shape of any operation's output."""
    operation, constant = settings["operation"], settings.get("constant")
    if operation in ("negative", "identity", "relu", "relu6"):
        return in_shapes[0]
    if operation == "stack":
        axis = settings["keras_axis"]
        return (*in_shapes[0][: axis - 1], len(in_shapes), *in_shapes[0][axis - 1 :])
    if not isinstance(constant, list):
        return merged_shape(settings, in_shapes)
    stored: Shape = np.shape(constant)[1:]
    moved = settings["data_format"] == "channels_last" and len(stored) > 1
    return broadcast_shape([in_shapes[0], (*stored[1:], stored[0]) if moved else stored])


def _unary(operation: str) -> Callable[[Options], Settings]:
    def settings(options: Options) -> Settings:
        arguments_of(options)
        return {"operation": operation}

    return settings


def _cast(options: Options) -> Settings:
    """A cast to a float is left out: the network computes in one precision, and `value_dtypes` sees to what rounds."""
    arguments = arguments_of(options)
    dtype = arguments.get("dtype") or arguments.get("1") or options.take("dtype")
    if dtype not in FLOATS:
        raise options.refusal(f"a cast to {dtype!r} is not supported. Expected one of {FLOATS}")
    return {"operation": "identity", "dtype": dtype}


def _stack(options: Options) -> Settings:
    rank = len(options.in_shapes[0]) + 1  # of the output, without the batch's axis
    axis = int(arguments_of(options).get("axis", options.take("axis", 0))) % (rank + 1)
    if axis == 0 or len(set(options.in_shapes)) != 1:
        raise options.refusal(f"cannot stack {options.in_shapes} along axis {axis}")
    return {"operation": "stack", "keras_axis": axis, "data_format": options.data_format}


def _concatenate(options: Options) -> Settings:
    return concatenate_settings(options, int(arguments_of(options).get("axis", options.take("axis", -1))))


_READERS: Mapping[str, Callable[[Options], Settings]] = {
    **{name: _elementwise(name) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    **{name: _unary(name) for name in ("negative", "relu", "relu6")},
    "cast": _cast,
    "stack": _stack,
    "concatenate": _concatenate,
}


def _tf_operation(options: Options) -> Settings:
    function = str(options.take("function")).removeprefix("tf.")
    if function == "__operators__.getitem":
        return _get_item(options)
    if function not in TF_FUNCTIONS:
        raise options.refusal(f"function {function!r} is not supported. Expected one of {sorted(TF_FUNCTIONS)}")
    return _READERS[TF_FUNCTIONS[function]](options)


def _get_item(options: Options) -> Settings:
    """Reads ``x[..., ::-1]`` and the like: whole axes but one, of which a part, one place, or its mirror image."""
    arguments = arguments_of(options)
    spec = arguments.get("slice_spec", arguments.get("1", arguments.get("key")))
    chosen = [(axis, choice) for axis, choice in enumerate(_per_axis(options, spec)) if choice != slice(None)]
    if len(chosen) != 1 or chosen[0][0] == 0:
        raise options.refusal(f"the slice {spec!r} is not supported. Expected one of a single axis, not the batch's")
    ((axis, choice),) = chosen
    size = (None, *options.in_shapes[0])[axis]
    if size is None:
        raise options.refusal(f"a slice of axis {axis}, whose size is free, is not supported")
    settings: Settings = {"operation": "get_item", "axis": options.axis(axis), "keras_axis": axis}
    if isinstance(choice, int):
        # Without this axis the last one left may be the one that PyTorch holds first.
        return {**settings, "index": range(size)[choice], "data_format": options.data_format}
    places = range(size)[choice]
    if places == range(size)[::-1]:
        return {**settings, "mirrored": True}
    if places.step < 0 or not places:
        raise options.refusal(f"the slice {spec!r} is not supported. Expected a positive step, or [::-1]")
    return {**settings, "start": places.start, "stop": places.stop, "step": places.step}


def _per_axis(options: Options, spec: Any) -> list[slice | int]:
    """One slice or index for each axis, the batch's included."""
    rank = len(options.in_shapes[0]) + 1
    entries = [_entry(options, entry) for entry in (spec if isinstance(spec, (list, tuple)) else [spec])]
    missing = [slice(None)] * (rank - sum(entry is not Ellipsis for entry in entries))
    if Ellipsis not in entries:
        return [*entries, *missing]
    place = entries.index(Ellipsis)
    return [*entries[:place], *missing, *entries[place + 1 :]]


def _entry(options: Options, entry: Any) -> Any:
    """An ellipsis, a slice or an index, as either Keras writes them."""
    if entry == "Ellipsis" or (isinstance(entry, Mapping) and entry.get("class_name") == "__ellipsis__"):
        return Ellipsis
    if isinstance(entry, Mapping):
        limits = entry.get("config", entry)
        found = [limits.get(key) for key in ("start", "stop", "step")]
        if all(limit is None or isinstance(limit, int) for limit in found):
            return slice(*found)
    elif isinstance(entry, int) and not isinstance(entry, bool):
        return entry
    raise options.refusal(f"the index {entry!r} is not supported")


def _got(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    if settings["operation"] != "get_item":
        return _operated(settings, in_shapes)
    axis, shape = settings["keras_axis"] - 1, in_shapes[0]
    if settings.get("mirrored"):
        return shape
    size = () if "index" in settings else (len(range(settings["start"], settings["stop"], settings["step"])),)
    return (*shape[:axis], *size, *shape[axis + 1 :])


# The elementwise classes that merging layers and Keras 3's operations share override those of `merges`.
_BY_CLASS: Mapping[str, Callable[[Options], Settings]] = {
    "TFOpLambda": _tf_operation,
    "SlicingOpLambda": _tf_operation,
    "GetItem": _get_item,
    **{name: _elementwise(operation) for name, operation in ELEMENTWISE.items() if operation != "average"},
    **{name: _READERS[operation] for name, operation in KERAS_3_CLASSES.items()},
}

OPERATION_TYPES: Mapping[str, LayerType] = {
    class_name: LayerType(class_name, settings, _got) for class_name, settings in _BY_CLASS.items()
}
