"""Checkpoint files written by hand in h5py: layouts that no installed Keras writes any more, and broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def some(*shape: int) -> np.ndarray:
    """Returns distinct numbers, none of them 0."""
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype="float32").reshape(shape)


def write_legacy(
    path: Path,
    layers: Mapping[str, Mapping[str, Any]],
    *,
    parts: int = 1,
    texts: type = bytes,
    config: Any = None,
) -> Path:
    """Writes the layout of Keras 1 and 2.

    Args:
        path: The file.
        layers: Arrays by layer group and weight name.
        parts: Into how many attributes each list of names is split.
        texts: ``bytes`` or ``str``, how the lists hold names.
        config: A model's config, which makes it a full-model file.
    """
    with h5py.File(path, "w") as file:
        group = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            group = file.create_group("model_weights")
        _write_names(group, "layer_names", list(layers), parts, texts)
        for layer, weights in layers.items():
            _write_names(group.create_group(layer), "weight_names", list(weights), parts, texts)
            for name, array in weights.items():
                group[layer][name] = array
    return path


def write_keras3(path: Any, groups: Mapping[str, tuple[str | None, list[Any]]]) -> Any:
    """Writes the layout of Keras 3: name (or None) and arrays by group, to a path or a file object."""
    with h5py.File(path, "w") as file:
        for group, (name, arrays) in groups.items():
            variables = file.create_group(f"{group}/vars")
            if name is not None:
                variables.attrs["name"] = name
            for index, array in enumerate(arrays):
                variables[str(index)] = array
    return path


def _write_names(group: h5py.Group, attribute: str, names: list[str], parts: int, texts: type) -> None:
    values = names if texts is str else [name.encode() for name in names]
    if parts == 1:
        group.attrs[attribute] = values
        return
    for number, part in enumerate(np.array_split(np.array(values, dtype=object if texts is str else None), parts)):
        group.attrs.create(f"{attribute}{number}", part, dtype=h5py.string_dtype() if texts is str else None)
