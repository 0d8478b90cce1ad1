"""The layout of Keras 3 (and of .keras files since Keras 2.12): ``layers/conv2d_7/vars/0``.

Groups count the layers of each class; the name is an attribute, or stands in the config, or nowhere.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import h5py

from weight_transfer.checkpoint.hdf5 import Stored, Tree, path_of
from weight_transfer.checkpoint.layer_names import ROLES, Config, by_counter, layer_name, roles, snake_case
from weight_transfer.errors import CheckpointError, quoted

# The attribute of a model that lists its layers; the second in Keras 2.12 and 2.13.
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
VARIABLES = "vars"
LAYERS = ("layers",)  # where a group stands for each layer of the model, activations too

# What Keras saves along with a model and a prediction never reads.
NOT_WEIGHTS = (
    "optimizer",
    "metrics",
    "loss",
    "loss_tracker",
    "_loss_tracker",
    "compile_metrics",
    "_compile_metrics",
    "_compile_loss",
    "seed_generator",
    "_seed_generators",
)

CLASSES: Mapping[str, str] = {snake_case(class_name): class_name for class_name in ROLES}

Path = tuple[str, ...]


@dataclass
class Node:
    """One group that holds variables.

    Attributes:
        name: The layer's name, where the file has it.
        arrays: By dataset name, which is a counter.
    """

    name: str | None = None
    arrays: dict[str, Stored] = field(default_factory=dict)


@dataclass
class Nodes:
    """All groups of one file, or of several shards, that hold variables; and what was passed over.

    Attributes:
        by_path: Every group with variables, or with a layer's name.
        layer_names: Every group of the outermost model's layers, with variables or without.
        listed: The same with those of the models inside it, by path.
        skipped: Paths of what is no weight.
    """

    by_path: dict[Path, Node] = field(default_factory=dict)
    layer_names: list[str] = field(default_factory=list)
    listed: dict[Path, None] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def without_names(self) -> Nodes:
        """Returns the same groups without the layers' names that the file holds."""
        by_path = {path: dataclasses.replace(node, name=None) for path, node in self.by_path.items()}
        return dataclasses.replace(self, by_path=by_path)


def collect(tree: Tree, nodes: Nodes) -> None:
    """Adds the groups of a file; a shard may hold a layer's name and the next its arrays."""
    _collect(tree, tree.root, (), nodes)


def _collect(tree: Tree, group: h5py.Group, path: Path, nodes: Nodes) -> None:
    for name in sorted(tree.names(group), key=_natural):
        here = (*path, name)
        if name in NOT_WEIGHTS and (not path or path[-1] not in CONTAINERS):
            nodes.skipped.append("/".join(here))
        elif name == VARIABLES:
            _add(tree, tree.group(group, name), nodes.by_path.setdefault(path, Node()))
        else:
            inside = tree.group(group, name)
            if here == LAYERS:
                nodes.layer_names += tree.names(inside)
            if set(here[::2]) == set(LAYERS) and len(here) % 2:
                nodes.listed |= {(*here, layer): None for layer in tree.names(inside)}
            _collect(tree, inside, here, nodes)


def listed_groups(nodes: Nodes) -> tuple[tuple[str, str], ...]:
    """Returns the group of every layer that is no model, with the layer's name or else the group's.

    None where arrays lie outside: then the model is a subclass, which lists its layers otherwise.
    """
    with_arrays = [path for path, node in nodes.by_path.items() if node.arrays]
    if any(not any(path[: len(layer)] == layer for layer in nodes.listed) for path in with_arrays):
        return ()
    models = {path[:-2] for path in nodes.listed if len(path) > 2}
    named = {path: nodes.by_path[path].name if path in nodes.by_path else None for path in nodes.listed}
    return tuple((path[-1], named[path] or path[-1]) for path in nodes.listed if path not in models)


def _add(tree: Tree, variables: h5py.Group, node: Node) -> None:
    node.name = tree.text(variables, "name") or node.name
    for key in sorted(tree.names(variables), key=_natural):
        if key in node.arrays:
            raise tree.refusal(f"{path_of(variables)}/{key}", "another shard holds it too")
        node.arrays[key] = tree.array(variables, key)


def _natural(name: str) -> tuple[str, int]:
    """``conv2d_2`` before ``conv2d_10``: a file does not keep the layers' order."""
    stem, _, number = name.rpartition("_")
    if name.isdecimal():
        return "", int(name)
    return (stem, int(number)) if number.isdecimal() else (name, 0)


def keras3_arrays(label: str, nodes: Nodes, config: Config | None) -> tuple[list[tuple[str, Stored]], bool]:
    """Lists the arrays by canonical name, and says whether any name is a counter.

    Args:
        label: The file, for messages.
        nodes: What `collect` found.
        config: The model's, where there is one; then layers come in its order.
    """
    naming = _Naming(label, nodes, config)
    rows = []
    for path, node in nodes.by_path.items():
        if node.arrays:
            layer_path, order, layer = naming.follow(path)
            labels = _roles(path, node, layer)
            rows.append((order, [("/".join((*layer_path, labels[k])), array) for k, array in node.arrays.items()]))
    rows.sort(key=lambda row: row[0])
    return [array for _, arrays in rows for array in arrays], naming.counted


class _Naming:
    def __init__(self, label: str, nodes: Nodes, config: Config | None) -> None:
        self.label = label
        self.nodes = nodes.by_path
        self.config = config
        self.counted = False
        self._models: dict[int, dict[str, tuple[int, Config]]] = {}

    def follow(self, path: Path) -> tuple[Path, tuple[int, ...], Config | None]:
        """Returns a group's layer path, its place in the config, and its own config."""
        names: list[str] = []
        order: list[int] = []
        model = self.config
        for depth, group in enumerate(path, start=1):
            contained = depth > 1 and path[depth - 2] in CONTAINERS
            if group in CONTAINERS and not contained:
                continue
            groups = self._listed(model) if model is not None and contained else {}
            place, model = groups.get(group, (len(groups), None))
            order.append(place)
            names.append(self._name(path[:depth], model, bool(groups), contained))
        return tuple(names), tuple(order), model

    def _listed(self, model: Config) -> dict[str, tuple[int, Config]]:
        """A model's layers, with their places, by group; made once for each model."""
        if id(model) not in self._models:
            self._models[id(model)] = {
                group: (place, layer) for place, (group, layer) in enumerate(by_counter(model).items())
            }
        return self._models[id(model)]

    def _name(self, path: Path, layer: Config | None, listed: bool, contained: bool) -> str:
        name = self.nodes[path].name if path in self.nodes else None
        if name is None and layer is not None:
            name = layer_name(layer)
        if name is not None:
            return name
        if listed:
            raise CheckpointError(
                f"{quoted(self.label)}: group {quoted('/'.join(path))} is no layer of the model's config. Expected "
                "the config and the weights of one model. Save the model again with Keras."
            )
        self.counted |= contained
        return path[-1]


def _roles(path: Path, node: Node, layer: Config | None) -> dict[str, str]:
    """The role of each dataset of a layer: by its class, which the group's name tells, and its position."""
    contained = len(path) > 1 and path[-2] in CONTAINERS
    class_name = CLASSES.get(re.sub(r"_\d+$", "", path[-1]), "") if contained else ""
    known = roles(class_name, len(node.arrays), layer)
    by_key = {str(position): role for position, role in enumerate(known)}
    return {key: by_key.get(key, f"vars_{key}" if key.isdecimal() else key) for key in node.arrays}
