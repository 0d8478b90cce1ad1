"""Whether a file's own layer graph computes what an architecture says, and what it says itself.

Names alone do not prove that a model is the ResNet its names suggest. A full-model file carries
its graph: here that graph and the architecture's are brought into one form, in which layers that
compute the same look the same, and compared layer by layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from weight_transfer.architecture import Activation, Architecture, Conventions, Head, Padding, Pooling
from weight_transfer.graph import ROLES, layers
from weight_transfer.model_config import ModelGraph, Node

IDENTITY_CLASSES = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization")
ACTIVATION_CLASSES = ("Activation", "Softmax", "ReLU")
OUTPUT_ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "linear")

OUTPUT = "output"  # beside the layers: where the graph ends

Key = object  # a nest of tuples that is equal for layers that compute the same


def observed_conventions(graph: ModelGraph, architecture: Architecture) -> Architecture:
    """Returns the architecture with the conventions, head and input that the file's graph shows.

    What the graph does not show (preprocessing) stays as it was.
    """
    names, old = architecture.names, architecture.conventions
    nodes = graph.nodes
    norm = nodes[names.stem_norm].config if names.stem_norm in nodes else {}
    conventions = dataclasses.replace(
        old,
        epsilon=float(norm.get("epsilon", old.epsilon)),
        momentum=float(norm.get("momentum", old.momentum)),
        stride_in=_stride_in(graph, architecture),
        stem_padding="same" if _padding(nodes.get(names.stem_conv)) == "same" else "zeros",
        pool_padding=_pool_padding(graph, old),
    )
    return dataclasses.replace(
        architecture,
        conventions=conventions,
        head=_head(graph, architecture),
        in_shape=_in_shape(graph, architecture.in_shape),
    )


def _padding(node: Node | None) -> Any:
    """Keras 1 says ``border_mode`` where later ones say ``padding``."""
    return None if node is None else node.config.get("padding", node.config.get("border_mode", "valid"))


def _stride_in(graph: ModelGraph, architecture: Architecture) -> Any:
    names = architecture.names
    if len(architecture.stages) < 2 or architecture.block == "basic":
        return architecture.conventions.stride_in
    stage = architecture.stages[1]
    first = names.conv.format(stage=stage, block=names.block(stage, 0), branch=names.branches[0])
    if first not in graph.nodes:
        return architecture.conventions.stride_in
    return "1x1" if max(_pair(_strides(graph.nodes[first].config))) > 1 else "3x3"


def _pool_padding(graph: ModelGraph, old: Conventions) -> Padding:
    pools = graph.of_class("MaxPooling2D")
    if not pools:
        return old.pool_padding
    if _padding(pools[0]) == "same":
        return "same"
    sources = [graph.nodes[name].class_name for name in pools[0].inputs]
    return "zeros" if "ZeroPadding2D" in sources else "none"


def _head(graph: ModelGraph, architecture: Architecture) -> Head:
    pooling: Pooling | None = None
    if graph.of_class("GlobalMaxPooling2D"):
        pooling = "max"
    elif graph.of_class("GlobalAveragePooling2D", "AveragePooling2D"):
        pooling = "avg"
    rates = [node.config.get("rate", node.config.get("p", 0.0)) for node in graph.of_class("Dropout")]
    head = dataclasses.replace(
        architecture.head, pooling=pooling or architecture.head.pooling, dropout=float(rates[-1]) if rates else 0.0
    )
    if head.classes is None:
        return dataclasses.replace(head, pooling=pooling)
    return dataclasses.replace(head, activation=_output_activation(graph, architecture.names.classifier))


def _output_activation(graph: ModelGraph, classifier: str) -> Activation:
    """Of the classifier itself, or of an activation layer behind it."""
    node = graph.nodes.get(classifier)
    names = [] if node is None else [_activation(node)]
    names += [_activation(after) for after in graph.readers(classifier) if after.class_name in ACTIVATION_CLASSES]
    return next((known for known in OUTPUT_ACTIVATIONS if known in names and known != "linear"), "linear")


def _in_shape(graph: ModelGraph, default: tuple[int | None, int | None, int]) -> tuple[int | None, int | None, int]:
    for node in graph.nodes.values():
        shape = node.config.get("batch_shape", node.config.get("batch_input_shape"))
        if shape is not None and len(shape) == 4 and isinstance(shape[3], int):
            return (shape[1], shape[2], shape[3])
    return default


def _activation(node: Node) -> str:
    """The name of what a layer applies to its output."""
    if node.class_name == "Softmax":
        return "softmax"
    if node.class_name == "ReLU":
        plain = all(node.config.get(key) in (None, 0, 0.0) for key in ("max_value", "negative_slope", "threshold"))
        return "relu" if plain else f"relu{dict(sorted(node.config.items()))}"
    value = node.config.get("activation", "linear")
    if isinstance(value, Mapping):  # tf.keras writes some as {"class_name": ..., "config": ...}
        value = value.get("config", value)
        value = value.get("name", value) if isinstance(value, Mapping) else value
    return str(value)


def architecture_graph(architecture: Architecture) -> ModelGraph:
    """Returns an architecture in the form of a file's graph."""
    rows = layers(architecture)
    nodes = {row.name: Node(row.name, row.class_name, row.config, row.inputs) for row in rows}
    return ModelGraph(nodes, (rows[-1].name,))


def differences(graph: ModelGraph, architecture: Architecture, *, outputs: bool = True) -> list[str]:
    """Returns a line for every layer with weights that the two graphs compute or feed differently.

    With ``outputs``, also one if the two end differently.

    Layers without weights have no names that count: they are compared as part of what feeds the
    layers with weights.
    """
    expected = _Canonical(architecture_graph(architecture), architecture).described()
    actual = _Canonical(graph, architecture).described()
    return [
        f"{name}: {_first_difference(expected[name], actual.get(name))}"
        for name in expected
        if expected[name] != actual.get(name) and (outputs or name != OUTPUT)
    ]


def _first_difference(expected: Mapping[str, Key], actual: Mapping[str, Key] | None) -> str:
    if actual is None:
        return "the file's model has no such layer"
    key = next(key for key in expected if expected[key] != actual.get(key))
    return f"{key} expected {_short(expected[key])}, the file's model has {_short(actual.get(key))}"


def _short(value: Key) -> str:
    text = str(value)
    return text if len(text) <= 90 else text[:87] + "..."


class _Canonical:
    """Describes each layer with weights by its settings and by what feeds it."""

    def __init__(self, graph: ModelGraph, architecture: Architecture) -> None:
        self.graph = graph
        rows = {row.name: row for row in layers(architecture)}
        self.kernels = {name: row.weights["kernel"][:2] for name, row in rows.items() if row.class_name == "Conv2D"}
        self.classifier = architecture.names.classifier
        self.final_size = next(
            (row.out_shape[:2] for row in reversed(rows.values()) if len(row.out_shape) == 3), (None, None)
        )
        self.known: dict[str, Key] = {}

    def described(self) -> dict[str, Mapping[str, Key]]:
        found = {name: self._layer(node) for name, node in self.graph.nodes.items() if node.class_name in ROLES}
        found[OUTPUT] = {"layer": tuple(self.key(name) for name in self.graph.outputs)}
        return found

    def _layer(self, node: Node) -> Mapping[str, Key]:
        config = node.config
        fed = tuple(self.key(name) for name in node.inputs)
        if node.class_name == "BatchNormalization":
            axis = config.get("axis", -1)
            axis = axis[0] if isinstance(axis, (list, tuple)) else axis
            return {
                "class": "BatchNormalization",
                "axis": -1 if axis == 3 else axis,
                "epsilon": float(config.get("epsilon", 1e-3)),
                "center and scale": (config.get("center", True), config.get("scale", True)),
                "input": fed,
            }
        activation = "any" if node.name == self.classifier else _activation(node)
        if node.class_name == "Dense":
            return {"class": "Dense", "activation": activation, "input": fed}
        padding, fed = self._conv_padding(node)
        return {
            "class": "Conv2D",
            "strides": _pair(_strides(config)),
            "padding": padding,
            "dilation": _pair(config.get("dilation_rate", 1)),
            "groups": config.get("groups", 1),
            "channels": config.get("data_format", "channels_last"),
            "activation": activation,
            "input": fed,
        }

    def _conv_padding(self, node: Node) -> tuple[Key, tuple[Key, ...]]:
        """The padding in pixels where it does not depend on the input's size, and what is padded."""
        kernel = self.kernels.get(node.name, (0, 0))
        if _padding(node) == "same":
            fixed = max(kernel) == 1 or (max(_pair(_strides(node.config))) == 1 and all(k % 2 for k in kernel))
            pad: Key = tuple(((k - 1) // 2, (k - 1) // 2) for k in kernel) if fixed else "same"
            return pad, tuple(self.key(name) for name in node.inputs)
        source = self.graph.nodes[node.inputs[0]] if node.inputs else None
        if source is not None and source.class_name == "ZeroPadding2D":
            return _pads(source.config["padding"]), tuple(self.key(name) for name in source.inputs)
        return ((0, 0), (0, 0)), tuple(self.key(name) for name in node.inputs)

    def key(self, name: str) -> Key:
        """What a layer's output is, in a form that is equal for layers that compute the same."""
        if name not in self.known:
            self.known[name] = self._describe(self.graph.nodes[name])
        return self.known[name]

    def _describe(self, node: Node) -> Key:
        class_name, config = node.class_name, node.config
        if class_name == "InputLayer":
            return "input"
        if class_name in ROLES:
            return node.name
        fed = tuple(self.key(name) for name in node.inputs)
        if class_name in IDENTITY_CLASSES:
            return fed[0]
        if class_name in ACTIVATION_CLASSES:
            # What follows the classifier is the head's activation, compared as such.
            return fed[0] if fed == (self.classifier,) else (_activation(node), *fed)
        if class_name == "Add" or (class_name == "Merge" and config.get("mode") == "sum"):
            return ("add", *sorted(fed, key=str))
        if class_name == "MaxPooling2D":
            size = _pair(config.get("pool_size", 2))
            return ("max pool", size, _pair(config.get("strides") or size), _padding(node), *fed)
        if class_name == "ZeroPadding2D":
            return ("zero pad", _pads(config["padding"]), *fed)
        if class_name == "AveragePooling2D" and _pair(config.get("pool_size", 2)) == self.final_size:
            return ("GlobalAveragePooling2D", *fed)  # Keras <= 2.2: 7x7 on 7x7, then Flatten
        if class_name == "Flatten" and isinstance(fed[0], tuple) and str(fed[0][0]).startswith("Global"):
            return fed[0]
        return (class_name, *fed)


def _strides(config: Mapping[str, Any]) -> Any:
    return config.get("strides", config.get("subsample", 1))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _pads(value: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """``3``, ``(3, 3)`` and ``((3, 3), (3, 3))`` are the same padding."""
    rows, columns = (value, value) if isinstance(value, int) else value
    return _pair(rows), _pair(columns)


def same_layers(graph: ModelGraph, architecture: Architecture) -> dict[str, str]:
    """Returns, for each layer of the architecture, the file's layer that computes the same.

    Layers without weights may be called anything in a file; here they are found by what they
    compute and by what feeds them. Layers without a counterpart are left out.
    """
    theirs = _Canonical(graph, architecture)
    by_key: dict[Key, str] = {}
    for name in graph.nodes:
        by_key.setdefault(theirs.key(name), name)
    ours = _Canonical(architecture_graph(architecture), architecture)
    return {name: by_key[ours.key(name)] for name in ours.graph.nodes if ours.key(name) in by_key}


def can_resize(graph: ModelGraph) -> bool:
    """Whether no layer ties the model to one input size."""
    return not graph.of_class("Flatten", "Reshape", "AveragePooling2D")
