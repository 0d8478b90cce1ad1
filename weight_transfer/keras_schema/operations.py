"""Operations on tensors that a model holds as layers, in the other generation's classes.

Keras 2 writes a `TFOpLambda` with TensorFlow's name of the function, Keras 3 a class per operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weight_transfer.keras_schema.calls import OPERATION_LAYERS, Facts, LayerCall, Nest, Source
from weight_transfer.keras_schema.target import Target
from weight_transfer.layer_types.operations import KERAS_3_CLASSES, TF_FUNCTIONS

GET_ITEM = "get_item"
_ELEMENTWISE = ("add", "subtract", "multiply", "maximum", "minimum")
_CLASS_OF: Mapping[str, str] = {
    **{operation: operation.capitalize() for operation in (*_ELEMENTWISE, "negative", "cast", "stack", "concatenate")},
    "divide": "TrueDivide",
    GET_ITEM: "GetItem",
}
_OPERATIONS: Mapping[str, str] = {  # by Keras 3's class
    **{class_name: operation for operation, class_name in _CLASS_OF.items()},
    **KERAS_3_CLASSES,
}
_FUNCTION_OF: Mapping[str, str] = {
    **{operation: f"math.{operation}" for operation in (*_ELEMENTWISE, "negative")},
    "divide": "math.truediv",
    "cast": "cast",
    "stack": "stack",
    "concatenate": "concat",
    GET_ITEM: "__operators__.getitem",
}
_MODULES: Mapping[str, str] = {
    "cast": "keras.src.ops.core"
}  # of Keras 3's classes that stand not in keras.src.ops.numpy
NUMPY = "keras.src.ops.numpy"
_RELU: Mapping[str, float | None] = {"relu": None, "relu6": 6.0}  # largest value of what Keras 3 has as a layer
_OPERANDS = ("x", "x1", "y", "x2", "xs", "key", "bias", "value", "slice_spec")  # what functions call them
_AXIS = ("stack", "concatenate")
COMMUTATIVE = ("add", "multiply", "maximum", "minimum")


@dataclass(frozen=True)
class Operation:
    """One call of an operation.

    Attributes:
        name: As `layer_types` calls it.
        operands: Tensors and constants, in the order in which the function takes them.
        arguments: ``axis`` or ``dtype``, where it has one.
    """

    name: str
    operands: Sequence[Nest]
    arguments: Mapping[str, Any]


def is_operation(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer is one: Keras 3 gives some of them the names of merging layers, which have ``trainable``."""
    return class_name in OPERATION_LAYERS or (class_name in _OPERATIONS and "trainable" not in config)


def module_of_operation(class_name: str) -> str:
    """Returns the module of one of Keras 3's operations, by its class."""
    return _MODULES.get(_OPERATIONS[class_name], NUMPY)


def read_operation(class_name: str, config: Mapping[str, Any], call: LayerCall, facts: Facts) -> Operation:
    """Reads one call of an operation of either generation.

    Args:
        class_name: In the file.
        config: In the file.
        call: What it is given.
        facts: Shape and dtype of each tensor.
    """
    if class_name in OPERATION_LAYERS:
        function = str(config.get("function")).removeprefix("tf.")
        name = TF_FUNCTIONS.get(function, GET_ITEM)
    else:
        name = _OPERATIONS[class_name]
    operands = [*call.args, *(call.kwargs[key] for key in _OPERANDS if key in call.kwargs)]
    given = {"axis": 0 if name in _AXIS else None, **config, **call.kwargs}
    if name == "cast" and len(operands) > 1:
        given["dtype"] = operands.pop()
    if given.get("data_format") == "NCHW":  # of tf.nn.bias_add: one value a channel, which stand first
        num_axes = len(facts(operands[0])[0])
        operands[1] = np.reshape(_plain(operands[1]), (-1, *(1,) * (num_axes - 1))).tolist()
    wanted = ("axis",) if name in _AXIS else ("dtype",) if name == "cast" else ()
    return Operation(name, operands, {key: given[key] for key in wanted})


def keras_2_operation(
    name: str, operation: Operation, target: Target, facts: Facts
) -> tuple[dict[str, Any], LayerCall]:
    """Returns an operation as Keras 2's layer, and its call.

    Args:
        name: Of the layer.
        operation: What is called.
        target: What is written.
        facts: Shape and dtype of each tensor.

    Raises:
        ArchitectureError: TensorFlow would hold a constant in another dtype than the tensor behind it.
    """
    first, rest = operation.operands[0], operation.operands[1:]
    if rest and not isinstance(first, Source) and operation.name in COMMUTATIVE:
        first, rest = rest[0], [first]
    elif rest and not isinstance(first, Source) and facts(rest[0])[1] != "float32":
        what = f"a constant before a tensor of {facts(rest[0])[1]}, which TensorFlow takes for one of float32,"
        raise target.refusal(name, _CLASS_OF[operation.name], what)
    kwargs: dict[str, Any] = {**operation.arguments, "name": None}
    class_name = "TFOpLambda"
    if operation.name == GET_ITEM:
        class_name, kwargs = (
            "SlicingOpLambda",
            {"slice_spec": [_limits(one) for one in _entries(rest[0], first, facts)]},
        )
    elif rest:
        kwargs["y"] = _plain(rest[0])
    config = {"name": name, "trainable": True, "dtype": "float32", "function": _FUNCTION_OF[operation.name]}
    return target.object(class_name, config, "keras.layers"), LayerCall([_plain(first)], kwargs)


def keras_3_operation(
    name: str, operation: Operation, target: Target, facts: Facts
) -> tuple[dict[str, Any], LayerCall]:
    """Returns an operation as Keras 3's, and its call; the arguments as of `keras_2_operation`."""
    if operation.name in _RELU:
        return _relu(name, operation, target, facts), LayerCall(operation.operands, {})
    class_name = _CLASS_OF[operation.name]
    module = _MODULES.get(operation.name, NUMPY)
    operands = list(operation.operands)
    if operation.name == GET_ITEM:
        entries = _entries(operands[1], operands[0], facts)
        operands[1] = [one if isinstance(one, int) else {"class_name": "__slice__", "config": one} for one in entries]
    else:
        dtype = next((facts(one)[1] for one in operands if isinstance(one, Source)), "float32")
        operands = [_constant(one, dtype) for one in operands]
    config = {"name": name, **operation.arguments}
    return target.object(class_name, config, module, class_name), LayerCall(operands, {})


def _relu(name: str, operation: Operation, target: Target, facts: Facts) -> dict[str, Any]:
    dtype = facts(operation.operands[0])[1]
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": dtype}, "registered_name": None}
    limits = {"max_value": _RELU[operation.name], "negative_slope": 0.0, "threshold": 0.0}
    return target.object("ReLU", {"name": name, "trainable": True, "dtype": policy, **limits}, "keras.layers")


def _plain(operand: Nest) -> Nest:
    """A constant as Keras 2 writes it: a number, or nested lists."""
    inside = operand.get("config") if isinstance(operand, Mapping) else None
    return inside["value"] if isinstance(inside, Mapping) else operand


def _constant(operand: Nest, dtype: str) -> Nest:
    """A constant as Keras 3 writes it: a number, or an array of the dtype of what it is combined with."""
    value = _plain(operand)
    is_array = isinstance(value, list) and not isinstance(operand, Mapping) and not _has_tensor(value)
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}} if is_array else operand


def _has_tensor(nest: Nest) -> bool:
    return any(_has_tensor(item) for item in nest) if isinstance(nest, list) else isinstance(nest, Source)


def _entries(spec: Any, tensor: Nest, facts: Facts) -> list[Any]:
    """What is taken along each axis: an index, or where a slice starts, stops and how far it steps; no ellipsis."""
    given = list(spec) if isinstance(spec, list) else [spec]
    places = [place for place, entry in enumerate(given) if _is_ellipsis(entry)]
    if places:
        missing = len(facts(tensor)[0]) + 1 - (len(given) - 1)
        given[places[0] : places[0] + 1] = [{}] * missing
    return [entry if isinstance(entry, int) else _limits(entry) for entry in given]


def _limits(entry: Any) -> Any:
    if isinstance(entry, int):
        return entry
    limits = entry.get("config", entry)
    return {key: limits.get(key) for key in ("start", "stop", "step")}


def _is_ellipsis(entry: Any) -> bool:
    return entry == "Ellipsis" or (isinstance(entry, Mapping) and entry.get("class_name") == "__ellipsis__")
