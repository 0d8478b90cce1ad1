"""Whether a file's own graph is the one that an architecture's recipe builds.

Names and shapes alone do not prove that a model is the ResNet that they suggest. A full-model file carries its
graph: it and the recipe's come through the same reader, the table of layer types, and are compared layer by layer in
all settings, what acts in training alone included. No layer is compared by its name but those with weights, which
the arrays are named after.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from weight_transfer.architecture import Architecture
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Call, Graph, Layer
from weight_transfer.graph.facts import ACTIVITY
from weight_transfer.layer_types.activations import ACTIVATION_TYPES
from weight_transfer.layer_types.convolutions import effective_window
from weight_transfer.layer_types.dropout_and_noise import REGULARIZING_TYPES
from weight_transfer.resnet.recipe import resnet_graph

OUTPUT = "output"  # beside the layers: where the graph ends
GLOBAL_POOLINGS = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
TIED_TO_A_SIZE = ("Flatten", "Reshape", "AveragePooling2D")

Key: TypeAlias = object  # a nest of tuples that is equal for values that are computed alike
Facts: TypeAlias = Mapping[str, Key]


class Difference(NamedTuple):
    """A layer that two graphs compute or feed differently.

    Attributes:
        name: Of the layer, or `OUTPUT`.
        expected: All that the architecture says of it.
        actual: All that the file says; None where it has no such layer.
    """

    name: str
    expected: Facts
    actual: Facts | None

    def __str__(self) -> str:
        if self.actual is None:
            return f"{self.name}: the file's model has no such layer"
        expected, actual = self.expected, self.actual
        key = next(key for key in {**expected, **actual} if expected.get(key) != actual.get(key))
        ours, theirs = (_short(one) for one in _apart(expected.get(key), actual.get(key)))
        return f"{self.name}: {key} expected {ours}, the file's model has {theirs}"


def _apart(expected: Key, actual: Key) -> tuple[Key, Key]:
    """Where two nests first differ."""
    while isinstance(expected, tuple) and isinstance(actual, tuple) and len(expected) == len(actual):
        expected, actual = next(pair for pair in zip(expected, actual, strict=True) if pair[0] != pair[1])
    return expected, actual


def _short(value: Key) -> str:
    """``relu of conv1`` for what is computed, any other value as it is."""
    if isinstance(value, tuple) and len(value) == 3 and value[0] == "activation":
        return f"{dict(value[1])['name']} of {_short(value[2])}"
    text = str(value)
    return text if len(text) <= 90 else text[:87] + "..."


def differences(graph: Graph, architecture: Architecture, *, outputs: bool = True) -> list[Difference]:
    """Returns every layer with weights that the recipe's graph and the file's compute or feed differently.

    Layers without weights are compared as part of what feeds the layers with weights and the outputs.

    Args:
        graph: The file's.
        architecture: The recipe.
        outputs: Whether to compare what the graph returns as well.
    """
    expected, actual = _both(architecture, graph)
    pairs = [(name, facts, actual.layers.get(name)) for name, facts in expected.layers.items()]
    if outputs:
        pairs.append((OUTPUT, expected.outputs, actual.outputs))
    found = [Difference(name, ours, theirs) for name, ours, theirs in pairs if ours != theirs]
    return [*found, *_moved_penalties(expected, actual)]


def _moved_penalties(expected: _Canonical, actual: _Canonical) -> Iterator[Difference]:
    """Penalties of an output before its activation where the recipe has the activated one, or the other way round."""
    for name, theirs in actual.by_name.items():
        ours = expected.by_name.get(name)
        if ours is not None and ACTIVITY in theirs.regularizers and ours.fused_activation != theirs.fused_activation:
            key = "activation before the activity regularizer"
            yield Difference(name, {key: ours.fused_activation}, {key: theirs.fused_activation})


def same_values(graph: Graph, architecture: Architecture) -> dict[str, str]:
    """Returns, for each layer of the architecture, the file's value that is computed alike.

    Layers without weights may be called anything in a file; here they are found by what they compute and by what
    feeds them. Layers without a counterpart are left out.

    Args:
        graph: The file's.
        architecture: The recipe.
    """
    ours, theirs = _both(architecture, graph)
    values: dict[Key, str] = {}
    for value, key in theirs.keys.items():
        values.setdefault(key, value)
    found = {path: values[key] for path, key in ours.keys.items() if key in values}
    for name, layer in ours.by_name.items():
        other = theirs.by_name.get(name)
        if other is not None and layer.weights and other.fused_activation == layer.fused_activation:
            found[name] = other.path  # which an activation that does nothing may follow
    return found


def check_called_once(graph: Graph) -> None:
    """Refuses a graph with what no ResNet has: a layer called twice, two layers of one name.

    Raises:
        ArchitectureError: It has.
    """
    for path, count in Counter(call.layer for call in graph.calls).items():
        if count > 1:
            raise ArchitectureError(f"layer {path!r} is called {count} times; a ResNet calls each once.")
    for name, count in Counter(own_name(layer) for layer in graph.layers.values()).items():
        if count > 1:
            raise ArchitectureError(f"two layers of the file's model are both named {name!r}.")


def own_name(layer: Layer) -> str:
    """A layer's name without those of the models that hold it."""
    return layer.path.rpartition("/")[2]


def can_resize(keras: Graph) -> bool:
    """Whether no layer ties the model to one input size."""
    return not any(layer.class_name in TIED_TO_A_SIZE for layer in keras.listed.values())


class _Canonical:
    """A graph in the form in which what computes the same is equal.

    Args:
        graph: Of either side.
        known: The keys of both sides by themselves, so that equal ones are one object: those of a deep network are
            nests as deep, which take long to compare, and Python compares no nest of a thousand levels.

    Attributes:
        keys: By value, what it is.
        layers: By name, all that a layer with weights computes, and what it reads.
        by_name: Every layer.
        outputs: What the graph returns.
    """

    def __init__(self, graph: Graph, known: dict[Key, Key]) -> None:
        self.graph = graph
        self.shapes = graph.shapes
        self.calls = {call.value: call for call in graph.calls}
        self.by_name = {own_name(layer): layer for layer in graph.layers.values()}
        self.keys: dict[str, Key] = {value: ("input", number) for number, value in enumerate(graph.inputs)}
        self.layers: dict[str, Facts] = {}
        for call in graph.calls:
            layer = graph.layers[call.layer]
            key = self._weighted(call, layer) if layer.weights else self._unweighted(call, layer)
            self.keys[call.value] = known.setdefault(key, key)
        self.outputs: Facts = {
            "layer": tuple(self.keys[value] for value in graph.outputs),
            "names": graph.output_names,
        }

    def _weighted(self, call: Call, layer: Layer) -> Key:
        """Notes what a layer with weights computes; its output is known by its name."""
        facts = {key: _hashable(value) for key, value in layer.settings.items() if key != "activation"}
        name, fed = own_name(layer), tuple(self.keys[value] for value in call.inputs)
        if layer.class_name == "Conv2D":
            facts["padding"], fed = self._padding(call, layer)
        self.layers[name] = {"class": layer.class_name, **facts, **_of_call(call), "input": fed}
        return _activated(layer.fused_activation, name)

    def _padding(self, call: Call, layer: Layer) -> tuple[Key, tuple[Key, ...]]:
        """The padding in pixels where it does not depend on the input's size, and what is padded."""
        settings, fed = layer.settings, tuple(self.keys[value] for value in call.inputs)
        windows = effective_window(settings)
        if settings["padding"] == "same":
            odd = max(settings["strides"]) == 1 and all(window % 2 for window in windows)
            fixed = odd or max(windows) == 1
            return tuple(((n - 1) // 2, (n - 1) // 2) for n in windows) if fixed else "same", fed
        before = self.calls.get(call.inputs[0])
        padding = None if before is None else self.graph.layers[before.layer]
        if before is not None and padding is not None and padding.class_name == "ZeroPadding2D":
            return _hashable(padding.settings["margins"]), tuple(self.keys[value] for value in before.inputs)
        return tuple((0, 0) for _ in windows), fed

    def _unweighted(self, call: Call, layer: Layer) -> Key:
        """What a layer without weights computes, and of what."""
        settings, fed = layer.settings, tuple(self.keys[value] for value in call.inputs)
        facts = (_hashable({**settings, **_of_call(call)}), _hashable(layer.regularizers))
        plain = not layer.regularizers and not _of_call(call)
        if plain and layer.class_name in ACTIVATION_TYPES:
            return _activated(settings["activation"] if layer.class_name == "Activation" else settings, fed[0])
        if plain and layer.class_name in REGULARIZING_TYPES and settings and not any(settings.values()):
            return fed[0]  # a rate or a deviation of 0
        if plain and "operation" in settings:  # Keras 1's Merge, Keras 3's operations and the layers
            in_order = fed if settings["operation"] != "add" or len(fed) != 2 else _in_order(fed)
            return (facts, *in_order)
        if plain and layer.class_name in (*GLOBAL_POOLINGS, "AveragePooling2D", "Flatten"):
            return self._pooled(call, layer, fed[0])
        return (layer.class_name, facts, *fed)

    def _pooled(self, call: Call, layer: Layer, fed: Key) -> Key:
        """Keras up to 2.2 has an average pooling over all places, then a Flatten, for a global pooling."""
        shape = self.shapes[call.inputs[0]]
        if layer.class_name == "Flatten":
            if len(shape) == 1:
                return fed
            if isinstance(fed, tuple) and fed[:2] in [(name, "keepdims") for name in GLOBAL_POOLINGS]:
                return (fed[0], "flat", *fed[2:])
        elif layer.class_name in GLOBAL_POOLINGS:
            rest = {key: value for key, value in layer.settings.items() if key != "keepdims"}
            return (layer.class_name, "keepdims" if layer.settings["keepdims"] else "flat", _hashable(rest), fed)
        elif layer.settings["data_format"] == "channels_last":
            spatial, out = list(shape[:2]), self.shapes[call.value][:2]
            if layer.settings["pool_size"] == spatial and out == (1, 1):
                rest = {"kind": "Average", "data_format": "channels_last"}
                return ("GlobalAveragePooling2D", "keepdims", _hashable(rest), fed)
        return (layer.class_name, _hashable(layer.settings), fed)


def _both(architecture: Architecture, graph: Graph) -> tuple[_Canonical, _Canonical]:
    """The recipe's graph and the file's."""
    known: dict[Key, Key] = {}
    return _Canonical(resnet_graph(architecture), known), _Canonical(graph, known)


def _in_order(keys: Sequence[Key]) -> list[Key]:
    """Two values in the same order whichever came first: by their outlines, and by all of them if those are equal."""
    outlines = [reprlib.repr(key) for key in keys]
    return sorted(keys, key=str if outlines[0] == outlines[1] else reprlib.repr)


def _activated(activation: Mapping[str, Any] | None, key: Key) -> Key:
    """A value behind an activation, whichever layer applies it."""
    return key if activation is None else ("activation", _hashable(activation), key)


def _of_call(call: Call) -> dict[str, Key]:
    """What a call says beside its inputs, of which a recipe says nothing."""
    return {} if call.training is None else {"training": call.training}


def _hashable(value: Any) -> Key:
    """JSON as nested tuples."""
    if isinstance(value, Mapping):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value
