"""The map between Keras arrays and PyTorch tensors: two small tables and one loop.

The same rows read forwards convert a checkpoint and read backwards write one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weight_transfer.architecture import Architecture
from weight_transfer.graph import layers

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
        shape: In Keras's layout.
        axes: Keras axes in PyTorch's order.
    """

    keras: str
    torch: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Shape in PyTorch's layout."""
        return tuple(self.shape[axis] for axis in self.axes)

    def to_torch(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Returns the array in PyTorch's layout, contiguous."""
        return np.ascontiguousarray(array.transpose(self.axes))

    def to_keras(self, tensor: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Returns the tensor in Keras's layout, contiguous: the inverse of `to_torch`."""
        return np.ascontiguousarray(tensor.transpose(np.argsort(self.axes)))


def mapping(architecture: Architecture) -> tuple[Row, ...]:
    """Returns a row for every array of the architecture, in the network's order."""
    return tuple(
        Row(
            keras=f"{layer.name}/{role}",
            torch=f"{layer.module}.{TORCH_NAMES[role]}",
            shape=shape,
            axes=TORCH_AXES.get((layer.class_name, role), tuple(range(len(shape)))),
        )
        for layer in layers(architecture)
        for role, shape in layer.weights.items()
    )
