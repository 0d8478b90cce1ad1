"""Layer names that a model's config knows and its weights may not.

A config is read as data: a nest of ``{"class_name": ..., "config": {"name": ..., "layers": [...]}}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Config = Mapping[str, Any]

# The arrays of the classes that files number instead of name, in the order of `vars/0`, `vars/1`, ...
ROLES: Mapping[str, tuple[str, ...]] = {
    "Conv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


def members(model: Config) -> list[Config]:
    """Returns the layers of a model's config; none for a plain layer."""
    inside = model.get("config")
    # Keras before 2.2.3 wrote a Sequential's layers as the config itself.
    layers = inside.get("layers") if isinstance(inside, Mapping) else inside
    return [row for row in layers if isinstance(row, Mapping)] if isinstance(layers, list) else []


def layer_name(layer: Config) -> str | None:
    """Returns a layer's name, or None where the config holds none."""
    inside = layer.get("config")
    name = layer.get("name") or (inside.get("name") if isinstance(inside, Mapping) else None)
    return name if isinstance(name, str) else None


def is_trainable(layer: Config) -> bool:
    """Returns what a layer's or a model's own config says of whether it learns; True where it says nothing."""
    inside = layer.get("config")
    return not isinstance(inside, Mapping) or inside.get("trainable", True) is not False


def snake_case(class_name: str) -> str:
    """Returns Keras's group name for a layer class: ``ReLU`` is ``re_lu``, ``Conv2D`` is ``conv2d``.

    Source: keras/src/utils/naming.py, to_snake_case; a registered class is ``package>Class``.
    """
    name = re.sub(r"\W+", "", class_name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def by_counter(model: Config) -> dict[str, Config]:
    """Returns a model's layers by Keras 3's group names: class in snake case, then a counter.

    Source: keras/src/saving/saving_lib.py, _save_container_state.
    """
    groups: dict[str, Config] = {}
    counts: dict[str, int] = {}
    for layer in members(model):
        label = snake_case(str(layer.get("class_name", "")))
        count = counts.get(label, 0)
        groups[f"{label}_{count}" if count else label] = layer
        counts[label] = count + 1
    return groups


def layers_of(model: Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Config]]:
    """Yields path, nested models first, and config of every layer in a model that has a name."""
    for layer in members(model):
        name = layer_name(layer)
        if name is None:
            continue
        if members(layer):
            yield from layers_of(layer, (*path, name))
        else:
            yield (*path, name), layer


def roles(class_name: str, count: int, layer: Config | None) -> tuple[str, ...]:
    """Returns the roles of a layer's first arrays in order; fewer than ``count`` where unknown.

    Args:
        class_name: Keras class.
        count: Arrays that the file has for the layer.
        layer: Its config, where there is one.
    """
    known = ROLES.get(class_name, ())
    if class_name != "BatchNormalization" or count >= len(known):
        return known
    gamma, beta, *moving = known
    if count == len(moving):  # scale=False, center=False
        return tuple(moving)
    inside = layer.get("config") if layer is not None else None
    if count == len(moving) + 1 and isinstance(inside, Mapping):
        return (gamma if inside.get("scale", True) else beta, *moving)
    return ()
