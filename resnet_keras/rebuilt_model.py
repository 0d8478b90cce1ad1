"""A loaded Keras model once more: its own layers and weights in another dtype, run layer by layer.

Layer by layer, so that each output can be looked at when it is there, and forgotten when no other
layer reads it: a ResNet-152 need not hold its 500 outputs at once.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from resnet_keras.allowlist import LAYERS, TENSORFLOW_LAYERS
from resnet_keras.cpu_kernels import replacement
from resnet_keras.reference import Reference
from weight_transfer.graph import Call, Graph, Layer
from weight_transfer.graph.graph import FINAL_ACTIVATIONS
from weight_transfer.layer_types.operations import FLOATS

# A value's name, it, and the activation that was taken off its layer; returns what the layers behind it read.
Note = Callable[[str, Any, Any], Any]
# Functions of one list of tensors, as Keras 3 and TensorFlow name them; other functions take each by itself.
JOINING = frozenset({"Concatenate", "Stack", "concat", "stack"})
CASTS = frozenset({"Cast", "cast"})


@dataclass(frozen=True)
class Rebuilt:
    """A model's own layers in another dtype.

    Attributes:
        module: `keras` or `tf_keras`.
        graph: Who reads whom.
        layers: By path, nested models flattened.
        last_activations: By path, the activation that was taken off a layer, as a layer.
        ended: The values that this activation was left out of: a shared layer's other calls have theirs.
        logits: The value of each output before a last softmax or sigmoid.
        dtype: Of everything.
    """

    module: Any
    graph: Graph
    layers: Mapping[str, Any]
    last_activations: Mapping[str, Any]
    ended: Collection[str]
    logits: Sequence[str]
    dtype: str

    def run(self, inputs: Sequence[np.ndarray], note: Note, *, training: bool = False) -> list[Any]:
        """Runs the model.

        Args:
            inputs: In the model's order.
            note: Called with each value's name, its tensor, and the activation that was taken off its
                layer or None, in order. What it returns takes the tensor's place.
            training: Whether batch norms, and they alone, run in training mode: what a dropout leaves
                out is chance.

        Returns:
            The outputs before their last activation.
        """
        given = dict(zip(self.graph.inputs, inputs, strict=True))
        readers = Counter([*self.logits, *(name for call in self.graph.calls for name in call.inputs)])
        values: dict[str, Any] = {name: tf.cast(value, self.dtype) for name, value in given.items()}
        for call in self.graph.calls:
            value = _called(self.module, self.layers[call.layer], call, values, self.dtype, training)
            finish = self.last_activations.get(call.layer)
            if finish is not None and call.value not in self.ended:
                value, finish = finish(value), None
            values[call.value] = note(call.value, value, finish)
            readers.subtract(call.inputs)
            for name in {call.value, *call.inputs}:
                if readers[name] == 0:
                    del values[name]
        return [values[name] for name in self.logits]


def rebuild(
    reference: Reference,
    graph: Graph,
    dtype: str,
    last_activations: Sequence[str | None],
    *,
    free_size: bool = False,
) -> Rebuilt:
    """Builds the loaded model's own layers once more.

    Args:
        reference: What was loaded.
        graph: Its graph, from its own config.
        dtype: Of everything.
        last_activations: Of each output, the softmax or sigmoid to leave out of its logits.
        free_size: Whether to leave the inputs' height and width free.
    """
    module, originals = reference.module, layer_objects(reference.model)
    logits, ended = _logits(graph, last_activations)
    stripped = {call.layer for call in graph.calls if call.value in ended}
    built: dict[str, Any] = {}
    finish: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    names: set[str] = set()  # of the layers built; two nested models may have layers of the same name
    for value, given in zip(graph.inputs, reference.model.inputs, strict=True):
        name = _unused(graph.listed[value].name, names)
        tensors[value] = _input(module, given.shape, name, dtype, free_size)
    for call in graph.calls:
        layer = graph.listed[call.layer]
        original = originals[layer.path]
        first = layer.path not in built
        if first:
            name = _unused(layer.name, names)
            built[layer.path], activation = _copy(original, name, dtype, layer.path in stripped)
            if (call_by_other_means := replacement(module, built[layer.path], dtype)) is not None:
                built[layer.path].call = call_by_other_means
            if activation is not None:
                finish[layer.path] = module.layers.Activation(activation, dtype=dtype)
        tensors[call.value] = _called(module, built[layer.path], call, tensors, dtype)
        if first and hasattr(original, "get_weights"):
            built[layer.path].set_weights(original.get_weights())  # a layer has weights once it was called
            if hasattr(built[layer.path], "finalize_state"):
                built[layer.path].finalize_state()  # Normalization goes on with its old statistics otherwise
    return Rebuilt(module, graph, built, finish, ended, logits, dtype)


def last_activations_of(graph: Graph) -> list[str | None]:
    """Of each output, the softmax or sigmoid that ends it and that no other layer reads; else None."""
    by_value = {**graph.listed, **{call.value: graph.listed[call.layer] for call in graph.calls}}
    read = {value for call in graph.calls for value in call.inputs}
    return [None if value in read else _last_activation(by_value[value]) for value in graph.outputs]


def _last_activation(layer: Layer) -> str | None:
    if layer.class_name in ("Softmax", "Sigmoid"):
        return layer.class_name.lower()
    activation = layer.config.get("activation")
    return activation if activation in FINAL_ACTIVATIONS else None


def _logits(graph: Graph, last_activations: Sequence[str | None]) -> tuple[list[str], Collection[str]]:
    """The value of each output before its last activation, and those whose layers carry one inside."""
    by_value = {call.value: call for call in graph.calls}
    logits, ended = [], set()
    for value, activation in zip(graph.outputs, last_activations, strict=True):
        call = by_value.get(value)
        if call is None or activation is None or graph.listed[call.layer].class_name not in WITHOUT_WEIGHTS:
            logits.append(value)
            if call is not None and activation is not None:
                ended.add(value)
        else:
            logits.append(call.inputs[0])
    return logits, ended


WITHOUT_WEIGHTS = ("Activation", "Softmax", "Sigmoid")  # layers that are nothing but an activation


def layer_objects(model: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns every layer of a model, and every operation that is none, by path, nested models flattened."""
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


def _unused(name: str, names: set[str]) -> str:
    """The name, or the first like it that no layer has; it is one of the names from then on."""
    while name in names:
        name += "_"
    names.add(name)
    return name


def _copy(original: Any, name: str, dtype: str, gives_logits: bool) -> tuple[Any, Any]:
    """The layer by another name, in another dtype, trainable; and the activation that was taken off it."""
    config = {**_in_dtype(original.get_config(), dtype), "name": name}
    # The original's weights take the place of what an initializer draws: 25 million numbers of a ResNet-50.
    config |= {key: "zeros" for key, value in config.items() if key.endswith("_initializer") and value is not None}
    # A Keras 3 operation has no weights; a dtype only if it is a cast.
    if hasattr(original, "get_weights") or (_function(original) in CASTS and original.dtype in FLOATS):
        config["dtype"] = dtype
    activation = None
    if gives_logits:
        activation, config["activation"] = config["activation"], "linear"
    copied = type(original).from_config(config)
    if hasattr(copied, "get_weights"):
        copied.trainable = True
    return copied, activation


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


def _called(module: Any, layer: Any, call: Call, tensors: Mapping[str, Any], dtype: str, training: bool = False) -> Any:
    fed = [tensors[name] for name in call.inputs]
    function = _function(layer)
    if function in JOINING or (function is None and len(fed) > 1 and _takes_a_list(layer)):
        fed = [fed]
    arguments = {name: _constant(module, value) for name, value in call.arguments.items()}
    if function in CASTS and arguments.get("dtype") in FLOATS:
        arguments["dtype"] = dtype
    named = {name: value for name, value in arguments.items() if not name.isdigit()}
    if function is None and "training" in inspect.signature(layer.call).parameters:
        mode = training if call.training is None else call.training
        named["training"] = mode and type(layer).__name__ == "BatchNormalization"
    for position in sorted(int(name) for name in arguments.keys() - named.keys()):
        value = arguments[str(position)]
        # Keras 2 makes a float32 tensor of a number in front, unless it has a dtype already.
        fed.insert(position, value if module.__name__ == "keras" else np.asarray(value, dtype))
    return layer(*fed, **named)


def _takes_a_list(layer: Any) -> bool:
    """Whether a layer takes several tensors as one list, as Add does, and MultiHeadAttention does not."""
    parameters = inspect.signature(layer.call).parameters.values()
    return sum(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters) < 2


def _function(layer: Any) -> str | None:
    """The name of what a layer of TensorFlow's or a Keras 3 operation computes; None for any other layer."""
    if type(layer).__name__ in TENSORFLOW_LAYERS:
        name: str = layer.get_config()["function"]
        return name
    return None if hasattr(layer, "get_weights") else type(layer).__name__


def _constant(module: Any, value: Any) -> Any:
    """An ellipsis, a slice or a tensor, which Keras 3 writes as dicts; a tuple, which JSON makes a list."""
    if module.__name__ != "keras":
        return value
    found = module.saving.deserialize_keras_object(value)
    return tuple(found) if isinstance(found, list) else found
