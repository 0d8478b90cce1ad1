"""The layout of Keras 1, 2 and tf.keras: a group for each layer, weights named in its attribute.

The group is the layer: variable names may carry the suffix of a TensorFlow graph, an outer model's
name, or an earlier name of the layer. Only a nested model's group holds several layers.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import h5py

from weight_transfer.checkpoint.hdf5 import Stored, Tree
from weight_transfer.checkpoint.layer_names import Config, layer_name, layers_of, members

MODEL_LEVEL = "top_level_model_weights"  # weights of the model itself; a ResNet has none

# Keras 1 wrote LAYER_SUFFIX. Its running_std held the variance (checked on the official ImageNet stem).
# Source: keras 1.2.2, keras/layers/convolutional.py, core.py and normalization.py.
KERAS_1_ROLES: Mapping[str, str] = {
    "W": "kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
KERAS_1_NAME = re.compile(rf"(?P<layer>.+)_(?P<suffix>{'|'.join(KERAS_1_ROLES)})(_\d+)?")
COUNTED_ROLE = re.compile(r"(kernel|bias|gamma|beta|moving_mean|moving_variance)_\d+")


def legacy_arrays(
    tree: Tree, group: h5py.Group, layer_names: Sequence[str], config: Config | None
) -> tuple[list[tuple[str, Stored, str]], list[str]]:
    """Lists the arrays by canonical name, with the file's own, and the groups that belong to no layer.

    Args:
        tree: The file.
        group: What carries the attribute ``layer_names``.
        layer_names: That attribute.
        config: The model's, where the file has one.
    """
    models = {layer_name(row): row for row in members(config or {})}
    arrays = []
    for name in [*layer_names, *([MODEL_LEVEL] if tree.has(group, MODEL_LEVEL) else [])]:
        layer = _open(tree, group, name.split("/"))  # a layer's name may hold slashes
        weight_names = tree.texts(layer, "weight_names") or []
        for path, weight_name in zip(_paths(name, weight_names, models.get(name)), weight_names, strict=True):
            arrays.append(("/".join(path), locate(tree, layer, weight_name), weight_name))
    used = {name.split("/")[0] for name in [*layer_names, MODEL_LEVEL]}
    skipped = [name for name in tree.names(group) if name not in used]
    return arrays, skipped


def _open(tree: Tree, group: h5py.Group, names: Iterable[str]) -> h5py.Group:
    for name in names:
        group = tree.group(group, name)
    return group


def locate(tree: Tree, group: h5py.Group, weight_name: str) -> Stored:
    """Locates an array of a group by a name with slashes, each of which is a group."""
    *groups, name = weight_name.split("/")
    return tree.array(_open(tree, group, groups), name)


def _paths(group: str, weight_names: list[str], layer: Config | None) -> Iterator[tuple[str, ...]]:
    """Yields layer path and role of each weight of one group."""
    split = [_split(name) for name in weight_names]
    shared = _shared([parents for parents, _ in split], group)
    inside = {} if layer is None else _inside(layer)
    for parents, role in split:
        yield (group, *(_nested(parents, inside) or parents[shared:]), role)


def _split(weight_name: str) -> tuple[tuple[str, ...], str]:
    """Splits a weight's name into what stands before the role, and the role."""
    *parents, last = re.sub(r":\d+$", "", weight_name).split("/")
    keras_1 = KERAS_1_NAME.fullmatch(last)
    # Layers that Keras 1's users wrote go on so, in Keras 2 below a scope of the layer's name.
    if keras_1 and (not parents or _stem(parents[-1]) == _stem(keras_1["layer"])):
        return tuple(parents) or (keras_1["layer"],), KERAS_1_ROLES[keras_1["suffix"]]
    counted = COUNTED_ROLE.fullmatch(last)
    return tuple(parents), counted[1] if counted else last


def _shared(parents: list[tuple[str, ...]], group: str) -> int:
    """How many leading parts only repeat the group: all where there is one layer, else up to the group's name."""
    if len(set(parents)) <= 1:
        return len(parents[0]) if parents else 0
    columns = zip(*parents, strict=False)
    common = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns)]
    alike = [position for position, part in enumerate(common, start=1) if _stem(part) == _stem(group)]
    return alike[-1] if alike else 0


def _stem(name: str) -> str:
    return re.sub(r"(_\d+)+$", "", name)


def _inside(layer: Config) -> dict[str, tuple[str, ...]]:
    """The layers of a nested model by their own name, where that is unique in it."""
    paths = [path for path, _ in layers_of(layer)]
    counts = Counter(path[-1] for path in paths)
    return {path[-1]: path for path in paths if counts[path[-1]] == 1}


def _nested(parents: tuple[str, ...], inside: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The path within a nested model that a weight's name means, if the config knows it."""
    for position, part in enumerate(parents):
        for name in (part, re.sub(r"_\d+$", "", part)):  # a TensorFlow graph may have appended a counter
            if name in inside:
                return (*inside[name], *parents[position + 1 :])
    return None
