"""What a row of the table of modules is: how the module of one Keras class is built, and read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

from weight_transfer.layer_types.layer_type import Settings, Shape

TorchShapes = Mapping[str, tuple[int, ...]]
Builder = Callable[[Settings, TorchShapes, Sequence[Shape]], nn.Module]


class Inputs(NamedTuple):
    """What a layer reads, which its module does not hold.

    Attributes:
        shapes: In Keras's layout, without the batch axis.
        data_format: Where Keras has the channels.
    """

    shapes: Sequence[Shape]
    data_format: str

    def keras_axis(self, axis: int) -> int:
        """Returns the Keras axis of a PyTorch axis of the first input, the batch's being 0 in both."""
        rank = len(self.shapes[0])
        if self.data_format == "channels_first" or rank == 1 or axis == 0:
            return axis
        return rank if axis == 1 else axis - 1


Reader = Callable[[Any, Inputs], Settings]
Readers = Mapping[type[nn.Module], Reader]


@dataclass(frozen=True)
class LayerModule:
    """A row of the table of modules: one Keras class.

    Attributes:
        build: Takes the settings of the class's row in `weight_transfer.layer_types`, the arrays' shapes in PyTorch's
            layout by their PyTorch names, and the input shapes in Keras's layout; returns a module with parameters
            of those names and shapes, which takes and gives tensors whose channels come first.
        read: By the classes of modules that it builds, the way back: the settings that a live module has now. Of
            several settings that make the same module it gives one. The ``data_format`` of the inputs is given,
            not read: PyTorch has the channels first in either. A fused ``activation`` is read off its own module.
        without_trace: Settings that a module does not show, each with the reason.
    """

    build: Builder
    read: Readers
    without_trace: Mapping[str, str] = field(default_factory=dict)


def attributes(**names: str) -> Reader:
    """Returns a reader of settings that are a module's attributes.

    Args:
        **names: Of the attribute, by setting.
    """
    return lambda module, inputs: {setting: plain(getattr(module, name)) for setting, name in names.items()}


def plain(value: Any) -> Any:
    """Returns a value as settings hold it: lists where a module has tuples."""
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def per_axis(value: Any, rank: int) -> list[Any]:
    """Returns a number for each axis of what a module holds for all of them, or axis by axis."""
    return plain(value) if isinstance(value, (list, tuple)) else [value] * rank
