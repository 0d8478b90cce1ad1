"""A network of which numbers were changed in PyTorch, as its description and its Keras config say them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint.layer_names import layers_of
from weight_transfer.description import Description
from weight_transfer.errors import ArchitectureError, listing
from weight_transfer.graph import Graph
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph

# Numbers by which a layer computes or trains, called alike in every Keras's config but Keras 1's; each by its old name.
NUMBERS: Mapping[str, str | None] = {"rate": "p", "stddev": "sigma", "momentum": None, "epsilon": None}

Changes = Mapping[str, Mapping[str, float]]  # by layer and setting, one of `NUMBERS`


def with_numbers(description: Description, changes: Changes) -> Description:
    """Returns a description whose network and Keras config have other numbers; all else stays as it is.

    Args:
        description: Of the network before.
        changes: By Keras layer and setting, a key of `NUMBERS`.

    Raises:
        ArchitectureError: A native ResNet has one such number for all its layers, and was given several; or the Keras
            config has no layer of this name.
    """
    config = description.keras_config
    return dataclasses.replace(
        description,
        network=_network(description.network, changes),
        keras_config=None if config is None else _config(config, description.network, changes),
    )


def _network(network: Graph, changes: Changes) -> Graph:
    if network.architecture is None:
        return _graph(network, changes)
    changed = _architecture(network.architecture, changes)
    return (
        resnet_graph(changed) if network.own_head is None else with_own_head(changed, _graph(network.own_head, changes))
    )


def _graph(graph: Graph, changes: Changes) -> Graph:
    changed = {
        path: dataclasses.replace(layer, settings={**layer.settings, **changes.get(path, {})})
        for path, layer in graph.layers.items()
    }
    return dataclasses.replace(graph, layers=changed)


def _architecture(a: Architecture, changes: Changes) -> Architecture:
    layers = resnet_graph(a).layers
    norms = [path for path, layer in layers.items() if layer.class_name == "BatchNormalization"]
    dropouts = [path for path, layer in layers.items() if layer.class_name == "Dropout"]
    epsilon = _one_for_all("epsilon", norms, a.conventions.epsilon, changes)
    momentum = _one_for_all("momentum", norms, a.conventions.momentum, changes)
    rate = _one_for_all("rate", dropouts, a.head.dropout, changes)
    conventions = dataclasses.replace(a.conventions, epsilon=epsilon, momentum=momentum)
    return dataclasses.replace(a, conventions=conventions, head=dataclasses.replace(a.head, dropout=rate))


def _one_for_all(setting: str, names: Iterable[str], before: float, changes: Changes) -> float:
    values = {name: changes.get(name, {}).get(setting, before) for name in names}
    if len(set(values.values())) > 1:
        other = [f"{name}: {value}" for name, value in values.items() if value != before]
        raise ArchitectureError(
            f"a native ResNet has one {setting} for all its layers ({before}), and not all have another:"
            f"{listing(other)}\nGive all of them the same, or convert the checkpoint with --as graph "
            "(Hints(import_as='graph')), where each layer has its own."
        )
    return next(iter(values.values()), before)


def _config(config: Mapping[str, Any], network: Graph, changes: Changes) -> dict[str, Any]:
    changed = copy.deepcopy(dict(config))
    rate = next((change["rate"] for change in changes.values() if "rate" in change), None)
    found = set()
    for path, layer in layers_of(changed):
        name = next((key for key in ("/".join(path), path[-1]) if key in changes), None)
        inside = layer["config"]
        acts = inside.get("rate") or inside.get("p")
        if network.resnet is not None and layer.get("class_name") == "Dropout" and acts and rate is not None:
            _set(inside, {"rate": rate})  # the one of all; a config may call its dropouts anything
        elif name is not None:
            found.add(name)
            _set(inside, changes[name])
    missing = [name for name in changes if name not in found and network.resnet is None]
    if missing:
        raise ArchitectureError(f"layers were changed that the network's Keras config does not name:{listing(missing)}")
    return changed


def _set(inside: dict[str, Any], numbers: Mapping[str, float]) -> None:
    for setting, value in numbers.items():
        old = NUMBERS[setting]
        inside[old if old is not None and old in inside and setting not in inside else setting] = value
