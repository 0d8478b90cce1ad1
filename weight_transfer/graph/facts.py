"""What each layer of a graph computes, in which shapes: its config read by the table of layer types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from weight_transfer.errors import ArchitectureError, listing
from weight_transfer.graph.graph import Call, Graph, Layer
from weight_transfer.graph.value_dtypes import check_dtypes
from weight_transfer.layer_types import LAYER_TYPES, DataFormat, Options, Shape
from weight_transfer.layer_types.ranges import LARGEST_SIZE, check_ranges

ACTIVITY = "activity_regularizer"  # of the layer's output; the others are of an array
REGULARIZERS = (
    "kernel_regularizer",
    "bias_regularizer",
    ACTIVITY,
    "gamma_regularizer",
    "beta_regularizer",
    "depthwise_regularizer",
    "pointwise_regularizer",
    "alpha_regularizer",
    "W_regularizer",
    "b_regularizer",
)
CONSTRAINTS = tuple(name.replace("regularizer", "constraint") for name in REGULARIZERS if name != ACTIVITY)


def with_facts(graph: Graph, keras_version: str | None) -> Graph:
    """Returns a graph with the settings and shapes of every layer.

    Args:
        graph: As its config lists it.
        keras_version: What wrote it: some layers compute otherwise in another Keras.

    Returns:
        The graph. It says itself which layers are in the way, where their class or arguments are not in the table, or
        they compute with whole numbers.
    """
    try:
        data_format = _data_format(graph)
        inputs = {value: _input_shape(graph.listed[value]) for value in graph.inputs}
    except ArchitectureError as error:
        return dataclasses.replace(graph, refusal=str(error))
    layers: dict[str, Layer] = {}
    shapes: dict[str, Shape] = dict(inputs)
    refused: list[str] = []
    for call in graph.calls:
        layer = graph.listed[call.layer]
        in_shapes = [shapes[name] for name in call.inputs if name in shapes]
        try:
            if layer.class_name not in LAYER_TYPES:
                raise _unsupported(layer)
            if len(in_shapes) != len(call.inputs):
                continue  # what feeds it was refused
            found = read_layer(layer, call.arguments, in_shapes, data_format, keras_version)
        except ArchitectureError as error:
            refused.append(str(error))
            continue
        layers.setdefault(layer.path, found)
        shapes[call.value] = found.out_shape
    refusal = _refusal(refused)
    known = dataclasses.replace(
        graph,
        layers=layers,
        calls=tuple(_with_mode(call, graph.listed[call.layer]) for call in graph.calls),
        inputs=inputs,
        data_format=data_format,
        refusal=refusal,
    )
    if refusal is None:
        known = dataclasses.replace(known, refusal=_refusal(check_dtypes(known)))
    return known


def _refusal(lines: Sequence[str]) -> str | None:
    return f"{len(lines)} layers cannot be imported:{listing(dict.fromkeys(lines))}" if lines else None


def _with_mode(call: Call, layer: Layer) -> Call:
    """A call with the mode that it says where the layer has two."""
    row = LAYER_TYPES.get(layer.class_name)
    return call if row is not None and row.two_modes else dataclasses.replace(call, training=None)


def _unsupported(layer: Layer) -> ArchitectureError:
    if ">" in layer.class_name:
        problem = "this class is not Keras's own, whatever it is called; what it computes does not stand in the file"
    else:
        problem = "this class is not supported"
    return ArchitectureError(f"layer {layer.path!r} ({layer.class_name}): {problem}.")


def read_layer(
    layer: Layer,
    arguments: Mapping[str, Any],
    in_shapes: Sequence[Shape],
    data_format: DataFormat,
    keras_version: str | None,
) -> Layer:
    """Returns a layer with its settings and shapes, and what acts on its weights in training.

    Args:
        layer: With its config.
        arguments: Constants of its call beside the inputs.
        in_shapes: Of the call's inputs.
        data_format: Of the whole model.
        keras_version: What wrote it.

    Raises:
        ArchitectureError: Its class or an argument is not in the table, or nothing is left of its input.
    """
    row = LAYER_TYPES[layer.class_name]
    config = {**layer.config, "keras_version": keras_version}
    if arguments:
        config["arguments"] = dict(arguments)
    options = Options(layer.path, layer.class_name, config, in_shapes, data_format)
    policy = layer.config.get("dtype")
    if isinstance(policy, Mapping) and ">" in str(policy.get("class_name")):
        raise options.refusal(f"its dtype policy {policy['class_name']} is not Keras's own")
    try:
        settings = row.settings(options)
        options.finish()
        check_ranges(options, {**settings, **regularizers_in(layer)})
        out_shape = row.out_shape(settings, in_shapes)
        row.weights(settings, in_shapes)
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        if isinstance(error, ArchitectureError):
            raise
        raise options.refusal(f"its arguments are malformed ({error!r})") from error
    if any(n is not None and n < 1 for n in out_shape):
        raise options.refusal(f"nothing is left of its input {list(in_shapes)}")
    return dataclasses.replace(
        layer,
        settings=settings,
        in_shapes=tuple(in_shapes),
        out_shape=out_shape,
        regularizers=regularizers_in(layer),
        constraints=constraints_in(layer),
    )


def regularizers_in(layer: Layer) -> dict[str, Any]:
    """The regularizers in a layer's config as they are, by argument; an ActivityRegularization is one itself."""
    kept = {name: layer.config[name] for name in REGULARIZERS if layer.config.get(name)}
    if layer.class_name == "ActivityRegularization":
        factors = {name: layer.config.get(name) or 0.0 for name in ("l1", "l2")}
        kept[ACTIVITY] = {"class_name": "L1L2", "config": factors}
    return kept


def constraints_in(layer: Layer) -> dict[str, Any]:
    """The constraints in a layer's config as they are, by argument."""
    return {name: layer.config[name] for name in CONSTRAINTS if layer.config.get(name)}


def _data_format(graph: Graph) -> DataFormat:
    """The one data format of all layers that have one."""
    found: dict[str, str] = {}
    for layer in graph.listed.values():
        if layer.class_name == "Flatten":
            continue  # Keras writes channels_last there whatever the model has
        value = layer.config.get("data_format", {"th": "channels_first"}.get(str(layer.config.get("dim_ordering"))))
        if value in ("channels_last", "channels_first"):
            found.setdefault(value, layer.path)
    if len(found) > 1:
        where = " and ".join(f"{name} at {path!r}" for name, path in found.items())
        raise ArchitectureError(f"the model mixes data formats ({where}). Expected one.")
    return "channels_first" if "channels_first" in found else "channels_last"


def _input_shape(layer: Layer) -> Shape:
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    if isinstance(shape, (list, tuple)) and len(shape) == 1 and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    if not isinstance(shape, (list, tuple)) or any(not isinstance(n, int) for n in shape if n is not None):
        raise ArchitectureError(f"input {layer.path!r} has no shape. Received: {shape!r}")
    if any(size is not None and not 1 <= size <= LARGEST_SIZE for size in shape[1:]):
        raise ArchitectureError(f"input {layer.path!r} has an impossible size. Received: {shape!r}")
    return tuple(shape[1:])
