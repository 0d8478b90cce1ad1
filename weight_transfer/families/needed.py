"""The layers of a model in order, and the shapes of the arrays that each holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weight_transfer.keras_graph import KerasGraph
from weight_transfer.layer_graph import layer_graph


@dataclass(frozen=True)
class Needed:
    """One layer and what it holds.

    Attributes:
        path: Layer name, the names of nested models before it.
        class_name: Keras class.
        weights: Shape by role, in Keras's layout and order; empty for a layer without arrays.
    """

    path: str
    class_name: str
    weights: Mapping[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.path.rpartition("/")[2]


def needed_arrays(keras: KerasGraph) -> tuple[Needed, ...]:
    """Lists every layer of a model but its inputs, nested models dissolved, in the order of ``model.layers``.

    Args:
        keras: The model's graph.

    Raises:
        ArchitectureError: The graph has layers that cannot be imported.
    """
    layers = layer_graph(keras).layers
    return tuple(
        Needed(path, layer.class_name, {role: weight.shape for role, weight in layers[path].weights.items()})
        for path, layer in keras.layers.items()
        if path in layers
    )
