"""The ways to describe a network: a ResNet by its architecture, anything else by its layer graph, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from weight_transfer.architecture import Architecture
from weight_transfer.layer_graph import LayerGraph


@dataclass(frozen=True)
class HeadedResNet:
    """A ResNet whose head is somebody's own: the backbone by its architecture, what follows by its graph.

    Attributes:
        backbone: Without a head: it ends with the feature map.
        head: With one input, the backbone's feature map.
    """

    backbone: Architecture
    head: LayerGraph

    def to_dict(self) -> dict[str, Any]:
        """Returns the network as JSON can hold it."""
        return {"backbone": self.backbone.to_dict(), "head": self.head.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeadedResNet:
        """Builds a network from what `to_dict` gave.

        Raises:
            ArchitectureError: It is the description of none.
        """
        return cls(Architecture.from_dict(values["backbone"]), LayerGraph.from_dict(values["head"]))


Network: TypeAlias = Architecture | HeadedResNet | LayerGraph

IMAGE_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA

KINDS: Mapping[str, type[Architecture] | type[HeadedResNet] | type[LayerGraph]] = {
    "architecture": Architecture,
    "headed": HeadedResNet,
    "graph": LayerGraph,
}


def network_to_dict(network: Network) -> dict[str, Any]:
    """Returns ``{"architecture": ...}``, ``{"headed": ...}`` or ``{"graph": ...}``, as JSON can hold it."""
    kind = next(kind for kind, cls in KINDS.items() if isinstance(network, cls))
    return {kind: network.to_dict()}


def network_from_dict(values: Mapping[str, Any]) -> Network:
    """Builds a network from what `network_to_dict` gave.

    Raises:
        KeyError: There is none.
        ArchitectureError: The description is none.
    """
    kind = next((kind for kind in KINDS if kind in values), "architecture")
    return KINDS[kind].from_dict(values[kind])


def backbone_of(network: Network) -> Architecture | None:
    """The ResNet in a network, if it is one that is known as such."""
    if isinstance(network, HeadedResNet):
        return network.backbone
    return network if isinstance(network, Architecture) else None


def graph_of(network: Network) -> LayerGraph | None:
    """What of a network is described by its graph: all of it, its head, or nothing."""
    if isinstance(network, HeadedResNet):
        return network.head
    return network if isinstance(network, LayerGraph) else None


def regularizers_of_graph(network: Network) -> dict[str, dict[str, Any]]:
    """Returns the regularizers that an imported graph carries, by layer and argument."""
    graph = graph_of(network)
    if graph is None:
        return {}
    return {path: dict(layer.regularizers) for path, layer in graph.layers.items() if layer.regularizers}


def constraints_of_graph(network: Network) -> dict[str, dict[str, Any]]:
    """Returns the constraints that an imported graph carries, by layer and argument."""
    graph = graph_of(network)
    if graph is None:
        return {}
    return {path: dict(layer.constraints) for path, layer in graph.layers.items() if layer.constraints}


def input_shapes(network: Network) -> dict[str, tuple[int | None, ...]]:
    """Shape of each input by name, in Keras's layout without the batch axis."""
    backbone = backbone_of(network)
    if backbone is not None:
        return {"input": backbone.in_shape}
    graph = graph_of(network)
    return {} if graph is None else dict(graph.inputs)


def takes_images(network: Network) -> bool:
    """Whether a network has one input, of height, width and so many channels as images have."""
    shapes = list(input_shapes(network).values())
    if len(shapes) != 1 or len(shapes[0]) != 3:
        return False
    return shapes[0][-1 if channels_last(network) else 0] in IMAGE_CHANNELS


def channels_last(network: Network) -> bool:
    """Whether the Keras model's channels come last."""
    graph = graph_of(network)
    return graph is None or graph.data_format == "channels_last"


def title_of(network: Network) -> str:
    """What a person calls it: ``ResNet-50``, or the Keras model's name."""
    backbone, graph = backbone_of(network), graph_of(network)
    if backbone is not None:
        return f"ResNet-{backbone.depth}"
    return "" if graph is None else graph.name
