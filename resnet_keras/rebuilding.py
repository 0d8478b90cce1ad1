"""A loaded Keras model once more: its own layers and weights, in another dtype, with every tap as an output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnet_keras.reference import Reference
from weight_transfer.keras_graph import Call, KerasGraph

OUTPUT = "output"  # the tap of what the model returns


def rebuild(
    reference: Reference,
    graph: KerasGraph,
    dtype: str,
    taps: Mapping[str, str],
    classifier: str | None = None,
    *,
    free_size: bool = False,
    with_output: bool = False,
) -> Any:
    """Builds the model from the loaded model's own layer objects, nested models dissolved.

    Args:
        reference: What was loaded.
        graph: Its graph, from its own config.
        dtype: Of everything.
        taps: Name of each output to the value it shows.
        classifier: Own name of the layer that is to give logits; its activation, if it has one of
            its own, becomes a layer behind it.
        free_size: Whether to leave the inputs' height and width free.
        with_output: Whether what the model returns is an output too, as ``output``.

    Returns:
        A model from the inputs in order to a dict by tap.
    """
    module, originals = reference.module, layer_objects(reference.model)
    built: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    finished: dict[str, Any] = {}  # the classifier's value with its activation
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if layer.class_name == "InputLayer" and not call.inputs:
            given = reference.model.inputs[graph.inputs.index(call.value)]  # a Sequential lists no InputLayer
            tensors[call.value] = _input(module, given.shape, layer.name, dtype, free_size)
            continue
        original, activation = originals[layer.path], "linear"
        first = layer.path not in built
        if first:
            built[layer.path], activation = _copy(original, dtype, layer.name == classifier)
        tensors[call.value] = _called(module, built[layer.path], call, tensors)
        if first and hasattr(original, "get_weights"):
            built[layer.path].set_weights(original.get_weights())  # a layer has weights once it was called
            if hasattr(built[layer.path], "finalize_state"):
                built[layer.path].finalize_state()  # Normalization goes on with its old statistics otherwise
        if activation != "linear":
            finished[call.value] = module.layers.Activation(activation, dtype=dtype)(tensors[call.value])
    outputs = {tap: tensors[value] for tap, value in taps.items()}
    if with_output:
        outputs[OUTPUT] = finished.get(graph.outputs[0], tensors[graph.outputs[0]])
    inputs = [tensors[value] for value in graph.inputs]
    return module.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def layer_objects(model: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every layer, and every operation that is none, by path."""
    found: dict[str, Any] = {}
    for layer in getattr(model, "operations", None) or model.layers:
        here = (*path, layer.name)
        if hasattr(layer, "layers"):
            found |= layer_objects(layer, here)
        else:
            found["/".join(here)] = layer
    return found


def _input(module: Any, shape: Any, name: str, dtype: str, free_size: bool) -> Any:
    _, *sizes = shape
    shape = (None, None, sizes[-1]) if free_size else tuple(sizes)
    return module.Input(shape, dtype=dtype, name=name)


def _copy(original: Any, dtype: str, gives_logits: bool) -> tuple[Any, Any]:
    """The layer in another dtype; and the activation that was taken off it."""
    if not hasattr(original, "get_weights"):
        return original, "linear"  # a Keras 3 operation has neither weights nor a dtype
    config = {**original.get_config(), "dtype": dtype}
    activation = "linear"
    if gives_logits:
        activation, config["activation"] = config["activation"], "linear"
    return type(original).from_config(config), activation


def _called(module: Any, layer: Any, call: Call, tensors: Mapping[str, Any]) -> Any:
    fed = [tensors[name] for name in call.inputs]
    if not call.arguments:
        return layer(fed if len(fed) > 1 else fed[0])
    arguments = {name: _constant(module, value) for name, value in call.arguments.items()}
    positional = {int(name): value for name, value in arguments.items() if name.isdigit()}
    named = {name: value for name, value in arguments.items() if not name.isdigit()}
    for position, value in sorted(positional.items()):
        fed.insert(position, value)
    return layer(*fed, **named)


def _constant(module: Any, value: Any) -> Any:
    """An ellipsis, a slice or a tensor, which Keras 3 writes as dicts; a tuple, which JSON makes a list."""
    if module.__name__ != "keras":
        return value
    found = module.saving.deserialize_keras_object(value)
    return tuple(found) if isinstance(found, list) else found
