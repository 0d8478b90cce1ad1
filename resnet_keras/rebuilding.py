"""A loaded Keras model once more: its own layers and weights, in another dtype, with every tap as an output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_keras.allowed import LAYERS, TENSORFLOW_LAYERS
from resnet_keras.reference import Reference
from weight_transfer.keras_graph import Call, KerasGraph
from weight_transfer.layer_types.operations import FLOATS

OUTPUT = "output"  # the tap of what the model returns
# Functions of one list of tensors, as Keras 3 and TensorFlow name them; other functions take each by itself.
JOINING = frozenset({"Concatenate", "Stack", "concat", "stack"})
CASTS = frozenset({"Cast", "cast"})


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
    module, originals = reference.module, _layer_objects(reference.model)
    built: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    finished: dict[str, Any] = {}  # the classifier's value with its activation
    names: set[str] = set()  # of the layers built; two nested models may have layers of the same name
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if layer.class_name == "InputLayer" and not call.inputs:
            given = reference.model.inputs[graph.inputs.index(call.value)]  # a Sequential lists no InputLayer
            tensors[call.value] = _input(module, given.shape, _unused(layer.name, names), dtype, free_size)
            continue
        original, activation = originals[layer.path], "linear"
        first = layer.path not in built
        if first:
            name = _unused(layer.name, names)
            built[layer.path], activation = _copy(original, name, dtype, layer.name == classifier)
        tensors[call.value] = _called(module, built[layer.path], call, tensors, dtype)
        if first and hasattr(original, "get_weights"):
            built[layer.path].set_weights(original.get_weights())  # a layer has weights once it was called
            if hasattr(built[layer.path], "finalize_state"):
                built[layer.path].finalize_state()  # Normalization goes on with its old statistics otherwise
        if activation != "linear":
            ending = module.layers.Activation(activation, name=_unused(f"{layer.name}_ending", names), dtype=dtype)
            finished[call.value] = ending(tensors[call.value])
    outputs = {tap: tensors[value] for tap, value in taps.items()}
    if with_output:
        outputs[OUTPUT] = finished.get(graph.outputs[0], tensors[graph.outputs[0]])
    inputs = [tensors[value] for value in graph.inputs]
    return module.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def _layer_objects(model: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every layer, and every operation that is none, by path."""
    found: dict[str, Any] = {}
    for layer in getattr(model, "operations", None) or model.layers:
        here = (*path, layer.name)
        if hasattr(layer, "layers"):
            found |= _layer_objects(layer, here)
        else:
            found["/".join(here)] = layer
    return found


def _input(module: Any, shape: Any, name: str, dtype: str, free_size: bool) -> Any:
    _, *sizes = shape
    shape = (None, None, sizes[-1]) if free_size else tuple(sizes)
    return module.Input(shape, dtype=dtype, name=name)


def _unused(name: str, names: set[str]) -> str:
    """The name, or the first like it that no layer has; it is one of the names from then on."""
    while name in names:
        name += "_"
    names.add(name)
    return name


def _copy(original: Any, name: str, dtype: str, gives_logits: bool) -> tuple[Any, Any]:
    """The layer by another name, in another dtype; and the activation that was taken off it."""
    config = {**_in_dtype(original.get_config(), dtype), "name": name}
    # A Keras 3 operation has no weights; a dtype only if it is a cast.
    if hasattr(original, "get_weights") or (_function(original) in CASTS and original.dtype in FLOATS):
        config["dtype"] = dtype
    activation = "linear"
    if gives_logits:
        activation, config["activation"] = config["activation"], "linear"
    return type(original).from_config(config), activation


def _in_dtype(value: Any, dtype: str) -> Any:
    """A layer's config with the layers that it holds, such as an activation, in another dtype too."""
    if isinstance(value, list):
        return [_in_dtype(item, dtype) for item in value]
    if not isinstance(value, Mapping):
        return value
    changed = {key: _in_dtype(item, dtype) for key, item in value.items()}
    if changed.get("class_name") in LAYERS and isinstance(changed.get("config"), Mapping):
        changed["config"] = {**changed["config"], "dtype": dtype}
    return changed


def _called(module: Any, layer: Any, call: Call, tensors: Mapping[str, Any], dtype: str) -> Any:
    fed = [tensors[name] for name in call.inputs]
    function = _function(layer)
    if function in JOINING or (function is None and len(fed) > 1):
        fed = [fed]
    arguments = {name: _constant(module, value) for name, value in call.arguments.items()}
    if function in CASTS and arguments.get("dtype") in FLOATS:
        arguments["dtype"] = dtype
    named = {name: value for name, value in arguments.items() if not name.isdigit()}
    for position in sorted(int(name) for name in arguments.keys() - named.keys()):
        value = arguments[str(position)]
        # Keras 2 makes a float32 tensor of a number in front, unless it has a dtype already.
        fed.insert(position, value if module.__name__ == "keras" else np.asarray(value, dtype))
    return layer(*fed, **named)


def _function(layer: Any) -> str | None:
    """The name of what a layer of TensorFlow's or a Keras 3 operation computes; None for any other layer."""
    if type(layer).__name__ in TENSORFLOW_LAYERS:
        return layer.get_config()["function"]
    return None if hasattr(layer, "get_weights") else type(layer).__name__


def _constant(module: Any, value: Any) -> Any:
    """An ellipsis, a slice or a tensor, which Keras 3 writes as dicts; a tuple, which JSON makes a list."""
    if module.__name__ != "keras":
        return value
    found = module.saving.deserialize_keras_object(value)
    return tuple(found) if isinstance(found, list) else found
