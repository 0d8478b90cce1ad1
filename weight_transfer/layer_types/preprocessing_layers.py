"""Preprocessing layers that models carry in front: rescaling and resizing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from weight_transfer.layer_types.axes import data_format_of, same_shape
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape
from weight_transfer.layer_types.poolings import require_rank, with_spatial


def constant_of(options: Options, value: Any) -> float | list[Any]:
    """Returns a constant as a number or nested list, from any way to write a tensor in a config.

    Raises:
        ArchitectureError: It is no constant of numbers.
    """
    if isinstance(value, Mapping):  # Keras 3: {"class_name": "__tensor__" or "__numpy__", "config": {"value": ...}}
        value = (value.get("config") or {}).get("value")
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise options.refusal(f"{value!r} is no constant") from error
    if np.isnan(array).any():
        raise options.refusal(f"{value!r} is no constant")
    constant: float | list[Any] = array.tolist()
    return constant


def stored_constant(options: Options, value: Any) -> float | list[Any]:
    """Returns a constant that broadcasts against the first input as PyTorch holds it.

    Args:
        options: Of the layer.
        value: Constant in Keras's layout, which broadcasts at its last axes.

    Returns:
        A number, or nested lists with the axes of a PyTorch tensor, the batch's included.

    Raises:
        ArchitectureError: It has more axes than the input, or one value per image.
    """
    array = np.asarray(constant_of(options, value))
    if array.size == 1:
        return float(array.reshape(()))
    rank = len(options.in_shapes[0]) + 1
    if array.ndim > rank or (array.ndim == rank and array.shape[0] != 1):
        raise options.refusal(f"a constant of shape {array.shape} for {options.in_shapes[0]} is not supported")
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if options.data_format == "channels_last" and rank > 2:
        array = np.moveaxis(array, -1, 1)
    stored: list[Any] = array.tolist()
    return stored


def _rescaling(options: Options) -> Settings:
    values = {key: options.take(key, default) for key, default in (("scale", 1.0), ("offset", 0.0))}
    # Both Kerases hold them in float32 before they cast them to the layer's precision.
    with np.errstate(over="ignore"):  # what is too large is refused afterwards, by name
        in_float32 = {key: np.asarray(constant_of(options, value), np.float32) for key, value in values.items()}
    stored = {key: stored_constant(options, value) for key, value in in_float32.items()}
    if options.data_format == "channels_first" and any(isinstance(value, list) for value in stored.values()):
        # Which axis it means depends on a global setting that the file does not hold.
        raise options.refusal("a scale or offset per channel is not supported in a channels_first model")
    return stored


def _resizing(options: Options) -> Settings:
    require_rank(options, 3)
    data_format = data_format_of(options)
    for flag in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        options.must_be(flag, False)
    options.must_be("interpolation", "bilinear", "nearest")
    for unused in ("fill_mode", "fill_value"):  # of the padding just refused
        options.take(unused)
    size = [int(options.take("height")), int(options.take("width"))]
    return {"size": size, "interpolation": options.take("interpolation", "bilinear"), "data_format": data_format}


def _resized(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    return with_spatial(settings["data_format"], in_shapes[0], settings["size"])


_ROWS: Mapping[str, tuple[Callable[[Options], Settings], Callable[[Settings, Sequence[Shape]], Shape]]] = {
    "Rescaling": (_rescaling, same_shape),
    "Resizing": (_resizing, _resized),
}

PREPROCESSING_TYPES: Mapping[str, LayerType] = {
    class_name: LayerType(class_name, settings, out_shape) for class_name, (settings, out_shape) in _ROWS.items()
}
