"""Whether a config in another schema means what the first one does, field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from weight_transfer.errors import ArchitectureError, listing
from weight_transfer.graph import Graph, Layer
from weight_transfer.keras_schema.layers import CLASSES
from weight_transfer.keras_schema.operations import COMMUTATIVE
from weight_transfer.keras_schema.target import NAMES, Target
from weight_transfer.layer_types import Settings


def check_equal(before: Graph, after: Graph, target: Target) -> None:
    """Refuses a config that would compute or train otherwise than the first.

    Some options mean one thing in one generation and another in the next: a ``hard_sigmoid``, how images are flipped.

    Args:
        before: What the first config means, by the rules of the Keras that wrote it.
        after: What is written means, by the rules of the Keras that reads it.
        target: What is written.

    Raises:
        ArchitectureError: Some field differs; the message names the layers, the fields and both values.
    """
    reader = NAMES[target.schema]
    compared = [("the model", _of_graph(before), _of_graph(after))]
    compared += [
        (f"layer {path!r} ({layer.class_name})", _said(layer), _said(after.layers.get(path)))
        for path, layer in before.layers.items()
    ]
    problems = [
        f"{where}: {field} is {first.get(field)!r} in the file, and would be {second.get(field)!r} in {reader}"
        for where, first, second in compared
        for field in sorted(first.keys() | second.keys())
        if first.get(field) != second.get(field)
    ]
    if problems:
        raise ArchitectureError(
            f"the schema of {reader} cannot say {len(problems)} fields of this model:{listing(problems)}\n"
            "Write the file without --schema, in the schema of the Keras that wrote the model."
        )


def _of_graph(graph: Graph) -> dict[str, Any]:
    """What acts beside the layers; the calls without their modes, of which `training` decides."""
    whole = ("inputs", "outputs", "output_names", "data_format", "name")
    calls = [dataclasses.replace(call, training=None) for call in graph.calls]
    return {**{what: getattr(graph, what) for what in whole}, "calls": calls}


def _said(layer: Layer | None) -> dict[str, Any]:
    """All that acts, by field; an operation by what it computes, whichever class it is."""
    if layer is None:
        return {}
    settings = _named(layer.settings)
    is_operation = "operation" in settings or "max_value" in settings or settings.get("name") in ("relu", "relu6")
    return {
        **settings,
        **({} if is_operation else {"class": CLASSES.get(layer.class_name, layer.class_name)}),
        "in_shapes": layer.in_shapes,
        "out_shape": layer.out_shape,
        "arrays": {role: weight.shape for role, weight in layer.weights.items()},
        "regularizers": _arguments(layer.regularizers),
        "constraints": _arguments(layer.constraints),
    }


def _named(settings: Settings) -> Settings:
    """Without what says nothing: the order of a sum; whether images are flipped together where one way is drawn.

    TensorFlow's relu is an operation in Keras 2 and a layer in Keras 3.
    """
    if settings.get("operation") in ("relu", "relu6"):
        return {"name": settings["operation"]}
    if "together" in settings and not (settings["horizontal"] and settings["vertical"]):
        return {key: value for key, value in settings.items() if key != "together"}
    if settings.get("operation") in COMMUTATIVE:
        return {key: value for key, value in settings.items() if key != "constant_first"}
    return settings


def _arguments(held: Mapping[str, Any]) -> list[str]:
    """What is regularized, in the words of Keras 2 and 3."""
    return sorted(key.replace("W_", "kernel_").replace("b_", "bias_") for key in held)
