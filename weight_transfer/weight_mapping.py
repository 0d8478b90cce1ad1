"""The map between Keras arrays and PyTorch tensors: small tables and one loop.

The same rows read forwards convert a checkpoint and read backwards write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from weight_transfer.graph import Graph
from weight_transfer.layer_types import Weight


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


def mapping(network: Graph) -> tuple[Row, ...]:
    """Returns a row for every array of the network, in the network's order."""
    return tuple(
        Row(f"{layer.path}/{role}", f"{network.modules[layer.path][0]}.{weight.torch}", weight)
        for layer in network.layers.values()
        for role, weight in layer.weights.items()
    )


def modules_of_layers(network: Graph) -> dict[str, str]:
    """Returns the path of the PyTorch module of every Keras layer with arrays."""
    return {path: network.modules[path][0] for path, layer in network.layers.items() if layer.weights}
