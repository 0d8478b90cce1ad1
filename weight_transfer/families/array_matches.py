"""Which array of a file is which layer's: by name, and by counter where Keras chose the name.

``conv2d_43`` says that the layer is a Conv2D and which came before it; where counting began depends
on what else was built in that process. So automatic names are sorted by counter within their class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.errors import nearest
from weight_transfer.families.needed import Needed

# What else Keras called a class: until 1.2 it ran the words of a name together.
OTHER_KINDS: Mapping[str, tuple[str, ...]] = {
    "Conv1D": ("convolution1d",),
    "Conv2D": ("convolution2d",),
    "BatchNormalization": ("batchnormalization", "batch_normalization_v1"),
}


@dataclass(frozen=True)
class Arrays:
    """A file's arrays by layer.

    Attributes:
        layers: By layer name, the names of nested models left out where that stays unique; then by role.
        counted: Whether the names only count the layers in the order of ``model.layers``.
    """

    layers: Mapping[str, Mapping[str, Array]]
    counted: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Arrays:
        """Groups a file's arrays."""
        paths: dict[str, dict[str, Array]] = {}
        for array in checkpoint.arrays.values():
            path, _, role = array.name.rpartition("/")
            paths.setdefault(path, {})[role] = array
        short = {path: path.rpartition("/")[2] for path in paths}
        unique = len(set(short.values())) == len(short)
        layers = {(short[path] if unique else path): roles for path, roles in paths.items()}
        return cls(layers, checkpoint.names_are_counters)

    def shape(self, layer: str, role: str = "kernel") -> tuple[int, ...] | None:
        """Returns an array's shape, or None where the file has no such array."""
        array = self.layers.get(layer, {}).get(role)
        return None if array is None else array.shape

    def of_class(self, class_name: str) -> list[str]:
        """Returns the layers that bear a class's automatic name, by counter."""
        return sorted((name for name in self.layers if is_automatic(name, class_name)), key=counter)

    def kernels(self, class_name: str) -> list[tuple[int, ...]]:
        """Returns the kernels' shapes of the layers that bear a class's automatic name, by counter."""
        shapes = (self.shape(name) for name in self.of_class(class_name))
        return [shape for shape in shapes if shape is not None]


def is_automatic(name: str, class_name: str) -> bool:
    """Whether Keras chose this name for a layer of this class."""
    return re.sub(r"_\d+$", "", name) in (snake_case(class_name), *OTHER_KINDS.get(class_name, ()))


def counter(name: str) -> int:
    """Returns the number that an automatic name ends in; a first one may have none."""
    number = re.search(r"_(\d+)$", name)
    return int(number[1]) if number else 0


NOT_THERE = ": not in the file"


@dataclass(frozen=True)
class Match:
    """A file's arrays laid on a model's layers.

    Attributes:
        names: The file's name of each ``layer/role``.
        layers: The file's name of each layer with arrays, by the model's path.
        problems: What does not fit, in words; empty where everything is used exactly once.
    """

    names: Mapping[str, str]
    layers: Mapping[str, str]
    problems: tuple[str, ...]


def match(arrays: Arrays, needed: Sequence[Needed]) -> Match:
    """Lays a file's arrays on a model's layers."""
    pairs = _pairs(arrays, [layer for layer in needed if layer.weights])
    names: dict[str, str] = {}
    problems: list[str] = []
    for layer in needed:
        if not layer.weights:
            continue
        if layer.path not in pairs:
            problems.append(f"{layer.path}{NOT_THERE}")
            continue
        received = _by_role(arrays.layers[pairs[layer.path]], layer)
        problems += _misfits(layer, received)
        names |= {f"{layer.path}/{role}": array.name for role, array in received.items()}
    unused = sorted(arrays.layers.keys() - set(pairs.values()))
    problems += [f"{name}: in the file, and no layer of the model" for name in unused]
    return Match(names, pairs, tuple(problems))


def nearest_layer(arrays: Arrays, problem: str) -> str:
    """Returns the file's layer that is called most like one that a problem says is not there, in words."""
    path, there_is_none, _ = problem.partition(NOT_THERE)
    return nearest(path.rpartition("/")[2], list(arrays.layers)) if there_is_none else ""


def _pairs(arrays: Arrays, needed: Sequence[Needed]) -> dict[str, str]:
    """The file's layer of each of the model's, by path."""
    pairs: dict[str, str] = {}
    by_class: dict[str, list[Needed]] = {}
    for layer in needed:
        by_class.setdefault(layer.class_name, []).append(layer)
    for class_name, rows in by_class.items():
        if arrays.counted:
            kind = snake_case(class_name)
            groups = {layer.path: f"{kind}_{count}" if count else kind for count, layer in enumerate(rows)}
            pairs |= {path: group for path, group in groups.items() if group in arrays.layers}
        elif all(layer.path in arrays.layers for layer in rows):
            pairs |= {layer.path: layer.path for layer in rows}
        else:
            pairs |= _by_name(arrays, class_name, rows)
    return pairs


def _by_name(arrays: Arrays, class_name: str, rows: Sequence[Needed]) -> dict[str, str]:
    """Pairs a class's layers by name, automatic names by their place in counting order."""
    automatic = sorted((layer for layer in rows if is_automatic(layer.name, class_name)), key=_counter_of)
    chosen = {layer.path: layer.name for layer in rows if layer not in automatic and layer.name in arrays.layers}
    counted = zip(automatic, arrays.of_class(class_name), strict=False)
    return chosen | {layer.path: name for layer, name in counted}


def _counter_of(layer: Needed) -> int:
    return counter(layer.name)


def _by_role(received: Mapping[str, Array], layer: Needed) -> dict[str, Array]:
    """The arrays by role; a file without names may only number them."""
    roles = tuple(layer.weights)
    by_role = {}
    for name, array in received.items():
        number = re.fullmatch(r"vars_(\d+)", name)
        numbered = number is not None and int(number[1]) < len(roles)
        by_role[roles[int(number[1])] if number is not None and numbered else name] = array
    return by_role


def _misfits(layer: Needed, received: Mapping[str, Array]) -> list[str]:
    lines = [f"{layer.path}/{role}: not in the file" for role in layer.weights if role not in received]
    for role, array in received.items():
        expected = layer.weights.get(role)
        if expected is None:
            lines.append(f"{array.name}: in the file, and no array of layer {layer.path!r}")
        elif expected != array.shape:
            lines.append(f"{layer.path}/{role}: expected shape {expected}, received {array.shape}")
    return lines
