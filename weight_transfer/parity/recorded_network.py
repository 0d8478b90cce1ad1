"""What a recording knows of the network itself: its inputs, the layers with arrays, and those that draw numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.description import MovingVariance
from weight_transfer.layer_types import Settings, Shape
from weight_transfer.layer_types.augmentations import AUGMENTATION_TYPES
from weight_transfer.layer_types.dropout_and_noise import REGULARIZING_TYPES

# Keras's classes that draw random numbers: dropout, noise, random augmentation.
RANDOM_CLASSES = frozenset({*REGULARIZING_TYPES, *AUGMENTATION_TYPES} - {"ActivityRegularization"})


@dataclass(frozen=True)
class RecordedLayer:
    """One layer that has arrays or draws random numbers.

    Attributes:
        name: As arrays are called after it: ``name/kernel``.
        class_name: Keras class.
        settings: What it computes, in the words of the table of layer types; empty where the table has no such class.
        in_shapes: Of its first call's inputs, in Keras's layout without the batch axis.
        arrays: Shape of each array by role, in Keras's layout.
        learning: Roles of the arrays that learn, by the file's own word.
        trainable: Whether the layer learns, by the file's own word; a batch norm that does not keeps its statistics.
        calls: By the name under which what a call returns is recorded, the mode that the call itself says, or None.
    """

    name: str
    class_name: str
    settings: Settings
    in_shapes: tuple[Shape, ...]
    arrays: Mapping[str, tuple[int, ...]]
    learning: tuple[str, ...]
    trainable: bool
    calls: Mapping[str, bool | None]

    @property
    def is_random(self) -> bool:
        """Whether it draws numbers in training."""
        return self.class_name in RANDOM_CLASSES

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecordedLayer:
        """Returns a layer that came through JSON."""
        changed = {
            "in_shapes": tuple(map(tuple, values["in_shapes"])),
            "arrays": {role: tuple(shape) for role, shape in values["arrays"].items()},
            "learning": tuple(values["learning"]),
        }
        return cls(**{**values, **changed})


@dataclass(frozen=True)
class RecordedNetwork:
    """The network, as far as a comparison with somebody's own module needs it.

    Attributes:
        inputs: Shape of each input, in Keras's layout without the batch axis; None for a free size.
        layers: The layers that have arrays or draw random numbers, in Keras's order.
        moving_variance: The rule by which the Keras that wrote the file moves the variances of batch norms; None where
            the file does not say which it was.
        channels_last: Whether the channels of its tensors come last.
    """

    inputs: tuple[Shape, ...]
    layers: tuple[RecordedLayer, ...]
    moving_variance: MovingVariance | None = None
    channels_last: bool = True

    @property
    def has_free_sizes(self) -> bool:
        """Whether an input's size is free."""
        return any(None in shape for shape in self.inputs)

    @property
    def arrays(self) -> dict[str, RecordedLayer]:
        """The layer of each array, by ``layer/role``."""
        return {f"{layer.name}/{role}": layer for layer in self.layers for role in layer.arrays}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecordedNetwork:
        """Returns a network that came through JSON."""
        inputs, layers = values["inputs"], values["layers"]
        return cls(
            tuple(map(tuple, inputs)),
            tuple(map(RecordedLayer.from_dict, layers)),
            values.get("moving_variance"),
            values.get("channels_last", True),
        )
