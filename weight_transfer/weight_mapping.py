"""The map between Keras arrays and PyTorch tensors: small tables and one loop.

The same rows read forwards convert a checkpoint and read backwards write one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from weight_transfer.architecture import Architecture
from weight_transfer.graph import layers
from weight_transfer.layer_graph import LayerGraph
from weight_transfer.layer_types import Weight
from weight_transfer.module_paths import HEAD
from weight_transfer.network import Network, backbone_of, graph_of

# What PyTorch calls each Keras array.
TORCH_NAMES: Mapping[str, str] = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

# Keras axes in PyTorch's order: (kh, kw, c_in, c_out) to (c_out, c_in, kh, kw), (in, out) to (out, in).
TORCH_AXES: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("Conv2D", "kernel"): (3, 2, 0, 1),
    ("Dense", "kernel"): (1, 0),
}


@dataclass(frozen=True)
class Row:
    """One array on both sides.

    Attributes:
        keras: ``layer/role``.
        torch: State-dict key.
        weight: Its shape, and how it is laid out in PyTorch.
    """

    keras: str
    torch: str
    weight: Weight

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in Keras's layout."""
        return self.weight.shape

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Shape in PyTorch's layout."""
        if self.weight.torch_shape is not None:
            return self.weight.torch_shape
        return tuple(self.shape[axis] for axis in self.weight.axes or range(len(self.shape)))

    def to_torch(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the array in PyTorch's layout, contiguous."""
        return self.weight.to_torch(array)

    def to_keras(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the tensor in Keras's layout, contiguous: the inverse of `to_torch`."""
        return self.weight.to_keras(tensor)


def mapping(network: Network) -> tuple[Row, ...]:
    """Returns a row for every array of the network, in the network's order."""
    backbone, graph = backbone_of(network), graph_of(network)
    rows = () if backbone is None else _of_architecture(backbone)
    return (*rows, *(_of_graph(graph, "" if backbone is None else HEAD) if graph is not None else ()))


def modules_of_layers(network: Network) -> dict[str, str]:
    """Returns the path of the PyTorch module of every Keras layer with arrays."""
    backbone, graph = backbone_of(network), graph_of(network)
    found = {} if backbone is None else {row.name: row.module for row in layers(backbone) if row.module is not None}
    prefix = "" if backbone is None else HEAD
    own = {} if graph is None else graph.layers
    return found | {
        path: f"{prefix}{graph.modules[path][0]}" for path, layer in own.items() if graph is not None and layer.weights
    }


def _of_architecture(architecture: Architecture) -> tuple[Row, ...]:
    return tuple(
        Row(
            f"{layer.name}/{role}",
            f"{layer.module}.{TORCH_NAMES[role]}",
            Weight(shape, TORCH_NAMES[role], TORCH_AXES.get((layer.class_name, role))),
        )
        for layer in layers(architecture)
        for role, shape in layer.weights.items()
    )


def _of_graph(graph: LayerGraph, prefix: str) -> tuple[Row, ...]:
    return tuple(
        Row(f"{layer.path}/{role}", f"{prefix}{graph.modules[layer.path][0]}.{weight.torch}", weight)
        for layer in graph.layers.values()
        for role, weight in layer.weights.items()
    )
