"""The layer graph that a full-model file carries, read from its JSON without building anything.

Keras has written the same graph in four schemas: Keras 1 (class ``Model``, inbound triples),
Keras 2 and tf.keras (``Functional``, inbound quadruples), Keras 3 (``__keras_tensor__`` arguments),
and ``Sequential``, which is a chain. Nested models are dissolved into their layers. No class is
imported and no code from the file runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weight_transfer.errors import ArchitectureError

MODEL_CLASSES = ("Model", "Functional", "Sequential")


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
    """The layers of a file's model by name, and where it ends."""

    nodes: Mapping[str, Node]
    outputs: tuple[str, ...]

    def of_class(self, *class_names: str) -> tuple[Node, ...]:
        """Returns the layers of these classes."""
        return tuple(node for node in self.nodes.values() if node.class_name in class_names)

    def readers(self, name: str) -> tuple[Node, ...]:
        """Returns the layers that read this one."""
        return tuple(node for node in self.nodes.values() if name in node.inputs)


def model_graph(config: Mapping[str, Any]) -> ModelGraph:
    """Reads the graph of a model config.

    Args:
        config: ``{"class_name": ..., "config": ...}`` as `Checkpoint.config` holds it.

    Raises:
        ArchitectureError: The config is malformed, or uses what a ResNet does not: a layer called
            twice, two layers of one name, an unknown reference.
    """
    nodes: dict[str, Node] = {}
    try:
        outputs = _dissolve(config, (), nodes)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ArchitectureError(f"the file's model config is malformed ({error!r})") from error
    except RecursionError as error:
        raise ArchitectureError("the file's model config is nested too deeply") from error
    for node in nodes.values():
        for source in node.inputs:
            if source not in nodes:
                raise ArchitectureError(f"layer {node.name!r} reads {source!r}, which the model config lacks")
    return ModelGraph(nodes, outputs)


def _dissolve(model: Mapping[str, Any], inputs: tuple[str, ...], nodes: dict[str, Node]) -> tuple[str, ...]:
    """Adds a model's layers to ``nodes``; returns the names of its output layers.

    ``inputs`` are the outer layers that feed the model; none for the outermost.
    """
    config = model["config"]
    rows = config if isinstance(config, list) else config["layers"]
    sequential = model["class_name"] == "Sequential"
    ends: dict[str, tuple[str, ...]] = {}  # a layer's, or a nested model's, output layers
    fed = iter(inputs)
    previous = inputs
    for row in rows:
        layer = row["config"]
        name = row.get("name") or layer["name"]
        sources = previous if sequential else tuple(_sources(row.get("inbound_nodes", []), name))
        resolved = tuple(end for source in sources for end in ends.get(source, (source,)))
        if row["class_name"] in MODEL_CLASSES:
            ends[name] = _dissolve(row, resolved, nodes)
        elif row["class_name"] == "InputLayer" and inputs:
            ends[name] = (next(fed),) if not sequential else inputs
        else:
            _put(nodes, Node(name, row["class_name"], layer, resolved))
            ends[name] = (name,)
        previous = ends[name]
    if sequential:
        return previous
    return tuple(end for name in _references(config["output_layers"]) for end in ends[name])


def _put(nodes: dict[str, Node], node: Node) -> None:
    if node.name in nodes:
        raise ArchitectureError(f"two layers of the file's model are both named {node.name!r}")
    nodes[node.name] = node


def _sources(inbound: Sequence[Any], name: str) -> Iterator[str]:
    """Names of the layers that one layer reads, in any schema."""
    if len(inbound) > 1:
        raise ArchitectureError(f"layer {name!r} is called {len(inbound)} times; a ResNet calls each layer once")
    for call in inbound:
        yield from _references(call["args"] if isinstance(call, Mapping) else call)


def _references(value: Any) -> Iterator[str]:
    """Layer names in a nest of ``[name, node, tensor, ...]`` and of Keras 3 tensors."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
            return
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, (list, tuple)):
        if value and isinstance(value[0], str):
            yield value[0]
            return
        for item in value:
            yield from _references(item)
