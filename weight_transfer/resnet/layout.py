"""Which networks have a ResNet's layout, whole or up to an own head, and how files name each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from weight_transfer.architecture import Architecture
from weight_transfer.graph import Graph
from weight_transfer.resnet.recipe import resnet_graph

ARCHITECTURE, HEADED, GRAPH = "architecture", "headed", "graph"  # what a file calls each kind of network
KINDS = frozenset({ARCHITECTURE, HEADED, GRAPH})


def with_own_head(backbone: Architecture, head: Graph) -> Graph:
    """Returns the network of a ResNet's stages and a head that its owner has put behind them.

    Args:
        backbone: Without a head: it ends with the feature map.
        head: With one input, that feature map.

    Raises:
        ArchitectureError: The backbone is no ResNet.
    """
    body = resnet_graph(backbone)
    (end,), (start,) = body.outputs, head.inputs
    calls = [
        dataclasses.replace(call, inputs=tuple(end if value == start else value for value in call.inputs))
        for call in head.calls
    ]
    return dataclasses.replace(
        body,
        name=head.name,
        layers={**body.layers, **head.layers},
        calls=(*body.calls, *calls),
        outputs=head.outputs,
        output_names=head.output_names,
        listed={**body.listed, **head.layers},
    )


def ends_block(modules: tuple[str, ...]) -> bool:
    """Whether a layer of these PyTorch modules is the last of a residual block of a ResNet's layout."""
    place = modules[-1].split(".") if modules else []
    return place[:1] == ["stages"] and place[3:] == ["relu"]


def network_to_dict(network: Graph) -> dict[str, Any]:
    """Returns ``{"architecture": ...}``, ``{"headed": ...}`` or ``{"graph": ...}``, as JSON can hold it."""
    if network.architecture is None:
        return {GRAPH: network.to_dict()}
    if network.own_head is not None:
        return {HEADED: {"backbone": network.architecture.to_dict(), "head": network.own_head.to_dict()}}
    return {ARCHITECTURE: network.architecture.to_dict()}


def network_from_dict(values: Mapping[str, Any]) -> Graph:
    """Builds a network from what `network_to_dict` gave.

    Raises:
        KeyError: There is none.
        ArchitectureError: The description is none.
    """
    if HEADED in values:
        parts = values[HEADED]
        return with_own_head(Architecture.from_dict(parts["backbone"]), Graph.from_dict(parts["head"]))
    if GRAPH in values:
        return Graph.from_dict(values[GRAPH])
    return resnet_graph(Architecture.from_dict(values[ARCHITECTURE]))
