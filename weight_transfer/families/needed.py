"""The layers of a model in order, the shapes of the arrays that each holds, and how a file lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weight_transfer.graph import Graph, Layer
from weight_transfer.layer_list import Expected, LayerList
from weight_transfer.layer_types.activations import ACTIVATION_TYPES


@dataclass(frozen=True)
class Needed:
    """One layer and what it holds.

    Attributes:
        path: Layer name, the names of nested models before it.
        class_name: Keras class.
        weights: Shape by role, in Keras's layout and order; empty for a layer without arrays.
        activation: What an activation layer applies.
    """

    path: str
    class_name: str
    weights: Mapping[str, tuple[int, ...]]
    activation: str | None = None

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.path.rpartition("/")[2]


def needed_arrays(keras: Graph) -> tuple[Needed, ...]:
    """Lists every layer of a model but its inputs, nested models flattened, in the order of ``model.layers``.

    Args:
        keras: The model's graph.

    Raises:
        ArchitectureError: The graph has layers that cannot be imported.
    """
    layers = keras.checked().layers
    return tuple(
        Needed(
            path,
            layer.class_name,
            {role: weight.shape for role, weight in layers[path].weights.items()},
            activation_in(layers[path]),
        )
        for path, layer in keras.listed.items()
        if path in layers
    )


def activation_in(layer: Layer) -> str | None:
    """What an activation layer applies; None of any other layer."""
    if layer.class_name not in ACTIVATION_TYPES:
        return None
    settings = layer.settings if layer.class_name != "Activation" else layer.settings["activation"] or {}
    return str(settings.get("name", "linear"))


def expected_of(keras: Graph, needed: Sequence[Needed], names: Mapping[str, str], listed: LayerList) -> list[Expected]:
    """Returns a model's layers as a file would list them, inputs included.

    Args:
        keras: The model's graph.
        needed: Its layers.
        names: The file's name of each layer with arrays, by path.
        listed: What the file lists.
    """
    by_path = {layer.path: layer for layer in needed}
    expected = []
    for place, path in enumerate(keras.listed):
        layer = by_path.get(path)
        if layer is None:
            expected.append(Expected("InputLayer", depth=place))
            continue
        also = () if layer.activation is None else ("activation", layer.activation.replace("_", ""))
        expected.append(Expected(layer.class_name, names.get(path) if listed.ordered else None, place, also))
    return expected
