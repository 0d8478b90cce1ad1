"""The layers that a file mentions although they hold no arrays: what computes the same shapes otherwise.

Keras 2 lists every layer of ``model.layers`` in order, activations and additions too; Keras 3 keeps a
group for each. Two networks of the same arrays differ there: where an activation stands, how the
image is pooled. A file that mentions no layer without arrays tells nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.checkpoint.parsing import Container
from weight_transfer.families.matching import OTHER_KINDS
from weight_transfer.families.needed import Needed
from weight_transfer.layer_types import LAYER_TYPES

# Layers that change nothing in a prediction, by the name that Keras gives them.
WITHOUT_EFFECT = frozenset({"input", "input_layer", "dropout", "spatial_dropout2d", "gaussian_noise"})
# Two ways to write the same layer.
SAME_KINDS: Mapping[str, str] = {"re_lu": "activation", "merge": "add"}

# What Keras calls the layers whose name nobody chose.
KINDS = frozenset({snake_case(class_name) for class_name in LAYER_TYPES} | {"lambda", *SAME_KINDS})

# Whether a container lists its layers in the order of ``model.layers``; the others carry a config, or are in pieces.
ORDERED: Mapping[Container, bool] = {"legacy-h5": True, "legacy-h5-weights": True, "keras3-weights-h5": False}


@dataclass(frozen=True)
class Listing:
    """Every layer a file mentions.

    Attributes:
        names: Layer names in order; or, where the file has no order, names that only count.
        ordered: Whether the order is that of ``model.layers``.
    """

    names: tuple[str, ...]
    ordered: bool

    def allows(self, needed: Sequence[Needed], layer_names: Mapping[str, str]) -> bool:
        """Whether a model could be the one that the file lists.

        Args:
            needed: The model's layers in order.
            layer_names: The file's name of each layer with arrays.
        """
        expected = [layer for layer in needed if snake_case(layer.class_name) not in WITHOUT_EFFECT]
        received = [name for name in self.names if _kind(name) not in WITHOUT_EFFECT]
        if len(received) == len(expected) + 1 and _chosen(received[0]):
            del received[0]  # an input by another name
        if not self.ordered:
            return Counter(_same(snake_case(layer.class_name)) for layer in expected) == Counter(
                _same(_kind(name)) for name in received
            )
        return len(expected) == len(received) and all(
            _allowed(name, layer, layer_names) for name, layer in zip(received, expected, strict=True)
        )


def _allowed(name: str, layer: Needed, layer_names: Mapping[str, str]) -> bool:
    if layer.path in layer_names:
        return name == layer_names[layer.path]
    # A name that a person chose says nothing of the layer's class.
    return name == layer.name or _chosen(name) or _same(_kind(name)) == _same(snake_case(layer.class_name))


def _chosen(name: str) -> bool:
    """Whether a person named this layer, and not Keras."""
    return _kind(name) not in KINDS and not name.startswith("tf.")


def listing_of(checkpoint: Checkpoint) -> Listing | None:
    """Returns which layers a file mentions; None where it mentions only layers with arrays."""
    ordered, names = ORDERED.get(checkpoint.container), checkpoint.layer_names
    with_arrays = {name.rpartition("/")[0] for name in checkpoint.arrays}
    nested = any("/" in path for path in with_arrays)  # then only the outermost model's layers are listed
    return None if ordered is None or nested or len(names) <= len(with_arrays) else Listing(names, ordered)


def _kind(name: str) -> str:
    """``conv2d_7`` is a ``conv2d``."""
    return re.sub(r"_\d+$", "", name)


def _same(kind: str) -> str:
    kinds: Iterable[tuple[str, tuple[str, ...]]] = OTHER_KINDS.items()
    older = {other: snake_case(class_name) for class_name, others in kinds for other in others}
    return SAME_KINDS.get(kind, older.get(kind, kind))
