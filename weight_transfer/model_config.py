"""A file's model as a ResNet's is: every layer called once, and known by its own name.

A view of `weight_transfer.keras_graph` for what compares a file's layers with an architecture's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.errors import ArchitectureError
from weight_transfer.keras_graph import KerasGraph


@dataclass(frozen=True)
class Node:
    """One layer of a file's model.

    Attributes:
        name: Layer name.
        class_name: Keras class.
        config: Its arguments as the file holds them.
        inputs: Names of the layers it reads, nested models dissolved.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class ModelGraph:
    """The layers of a file's model by name, each after those it reads, and where it ends."""

    nodes: Mapping[str, Node]
    outputs: tuple[str, ...]

    def of_class(self, *class_names: str) -> tuple[Node, ...]:
        """Returns the layers of these classes."""
        return tuple(node for node in self.nodes.values() if node.class_name in class_names)

    def readers(self, name: str) -> tuple[Node, ...]:
        """Returns the layers that read this one."""
        return tuple(node for node in self.nodes.values() if name in node.inputs)


def model_graph(keras: KerasGraph) -> ModelGraph:
    """Returns a Keras graph as a ResNet's.

    Args:
        keras: The graph.

    Raises:
        ArchitectureError: It has what a ResNet has not: a layer called twice, two layers of one name.
    """
    names = {call.value: keras.layers[call.layer].name for call in keras.calls}
    for path, count in Counter(call.layer for call in keras.calls).items():
        if count > 1:
            raise ArchitectureError(f"layer {path!r} is called {count} times; a ResNet calls each layer once")
    nodes: dict[str, Node] = {}
    for call in keras.calls:
        layer = keras.layers[call.layer]
        if layer.name in nodes:
            raise ArchitectureError(f"two layers of the file's model are both named {layer.name!r}")
        nodes[layer.name] = Node(layer.name, layer.class_name, layer.config, tuple(names[v] for v in call.inputs))
    return ModelGraph(nodes, tuple(names[value] for value in keras.outputs))
