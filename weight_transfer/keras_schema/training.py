"""What learns, and in which mode layers are called: where the two generations do not mean the same by one word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weight_transfer.checkpoint.writing import Schema
from weight_transfer.graph import Graph, Layer
from weight_transfer.keras_schema.target import Target
from weight_transfer.layer_types.dropout_and_noise import REGULARIZING_TYPES
from weight_transfer.layer_types.normalizations import BATCH_NORMALIZATIONS

STRENGTHS = ("rate", "stddev")  # of a layer that is random in training


def trainable_flags(config: Mapping[str, Any], graph: Graph, source: Schema, target: Target) -> dict[str, bool]:
    """Returns the flag of each layer that must have another than its own in the target, to learn what it learns.

    Args:
        config: The model's.
        graph: Its graph.
        source: The schema of the config.
        target: What is written.

    Raises:
        ArchitectureError: No flag says it.
    """
    if source == target.schema:
        return {}
    return _of_modes(graph, target) if source == "keras2" else _of_whole_model(config, graph, target)


def _of_modes(graph: Graph, target: Target) -> dict[str, bool]:
    """Keras 2 keeps to the mode that a call says; Keras 3's `fit`, `evaluate` and `predict` override it."""
    flags: dict[str, bool] = {}
    said_of: dict[str, set[bool | None]] = {}
    for call in graph.calls:
        said_of.setdefault(call.layer, set()).add(call.training)
    for path, modes in said_of.items():
        layer = graph.layers[path]
        if modes == {None} or _has_one_mode(layer):
            continue
        if modes == {False} and layer.class_name in BATCH_NORMALIZATIONS and not _learns(layer):
            flags[path] = False  # which keeps its statistics, and it has nothing else
            continue
        said = next(mode for mode in modes if mode is not None)
        raise target.refusal(path, layer.class_name, f"training={said} in a call, which also its training keeps to,")
    return flags


def _has_one_mode(layer: Layer) -> bool:
    """Whether a layer does the same in training: a batch norm that is frozen, a dropout of nothing."""
    if layer.class_name in BATCH_NORMALIZATIONS:
        return not layer.trainable
    return layer.class_name in REGULARIZING_TYPES and not any(layer.settings.get(key) for key in STRENGTHS)


def _of_whole_model(config: Mapping[str, Any], graph: Graph, target: Target) -> dict[str, bool]:
    """Keras 3 reads ``trainable=False`` of a functional model as of all its variables; tf_keras forgets it.

    Source: functional_from_config in keras/src/models/functional.py, Sequential.from_config in
        keras/src/models/sequential.py and trainable_variables in keras/src/layers/layer.py, keras 3.15.1.
    """
    inside = config.get("config")
    if (
        config.get("class_name") == "Sequential"
        or not isinstance(inside, Mapping)
        or inside.get("trainable") is not False
    ):
        return {}
    flags = {}
    for path, layer in graph.layers.items():
        if layer.class_name in BATCH_NORMALIZATIONS and layer.trainable:
            if _learns(layer):
                raise target.refusal(path, layer.class_name, "trainable=True in a model that does not learn")
            continue  # its statistics move
        flags[path] = False
    return flags


def _learns(layer: Layer) -> bool:
    """Whether a batch norm has a scale or a shift."""
    return bool(layer.settings["scale"] or layer.settings["center"])
