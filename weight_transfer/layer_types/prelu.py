"""PReLU: a leaky relu whose slope is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weight_transfer.layer_types.axes import fixed, known_size, same_shape
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape, Weight


def _settings(options: Options) -> Settings:
    rank = len(options.in_shapes[0])
    given = options.take("shared_axes", [])
    # Keras subtracts 1 and lets Python count from the end: -1 shares the last axis but one.
    if not all(-rank < axis <= rank for axis in (given if isinstance(given, list | tuple) else [given])):
        raise options.refusal(f"shared_axes={given!r} is not of {rank} axes")
    shared = sorted({(axis - 1) % rank + 1 for axis in (given if isinstance(given, list | tuple) else [given])})
    for axis in set(range(1, rank + 1)) - set(shared):
        known_size(options, axis)
    return {"shared_axes": shared, "data_format": options.data_format}


def _weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    shared, last = settings["shared_axes"], len(in_shapes[0]) - 1
    shape = tuple(1 if axis in shared else fixed(size) for axis, size in enumerate(in_shapes[0], 1))
    axes = (last, *range(last)) if settings["data_format"] == "channels_last" else tuple(range(last + 1))
    moved = tuple(shape[axis] for axis in axes)
    one_per_channel = all(size == 1 for size in moved[1:])
    return {"alpha": Weight(shape, "weight", axes, torch_shape=moved[:1] if one_per_channel else None)}


PRELU_TYPES: Mapping[str, LayerType] = {"PReLU": LayerType("PReLU", _settings, same_shape, _weights)}
