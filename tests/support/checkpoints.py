"""Checkpoints that need no Keras to make: an architecture's arrays, all distinct, written by our writer.

The writer itself is held against real Keras in `weight_transfer/conversion/test_keras_model.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from weight_transfer import Architecture, design
from weight_transfer.conversion import keras_model
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.graph import Graph
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping

Arrays = dict[str, np.ndarray]

SMALL: Mapping[str, Any] = {
    "block_counts": (2, 1),
    "stem_filters": 4,
    "filters": ((4, 4, 8), (6, 6, 12)),
    "in_shape": (33, 33, 3),
}


def small(dialect: str = "tutorial", **arguments: Any) -> Architecture:
    """A network of two small stages."""
    return design(dialect=dialect, **{**SMALL, **arguments})


def arrays_of(architecture: Architecture, dtype: str = "float32") -> Arrays:
    """Distinct positive numbers for every array."""
    generator = np.random.default_rng(0)
    return {
        row.keras: generator.uniform(0.1, 1.0, row.shape).astype(dtype) for row in mapping(resnet_graph(architecture))
    }


def legacy_weights(path: Path, arrays: Mapping[str, np.ndarray], *, keras_1: bool = False) -> Path:
    """Writes any arrays, right or wrong, as a legacy weights-only file; ``model/layer/role`` is a nested layer's.

    Keras 1 does not repeat the layer before the weight's name.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[f"{rest if '/' in rest or keras_1 else name}:0"] = value
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        for name, values in groups.items():
            file.create_group(name).attrs["weight_names"] = [weight.encode() for weight in values]
            for weight, value in values.items():
                file[name][weight] = value
    return path


def write_checkpoint(
    path: str | Path, made: Architecture | Graph, arrays: Arrays, *, told: dict[str, Any] | None = None, **options: Any
) -> None:
    """Writes a network's checkpoint as that of one made in PyTorch; ``told`` is what its description says beside."""
    network = made if isinstance(made, Graph) else resnet_graph(made)
    keras_model.write_checkpoint(path, Description(network, MADE_HERE, **(told or {})), arrays, **options)


def checkpoint(path: Path, architecture: Architecture, **options: Any) -> Path:
    """Writes an architecture's checkpoint with the arrays of `arrays_of`."""
    write_checkpoint(path, architecture, arrays_of(architecture), **options)
    return path
