"""Random augmentation, which acts in training: how far each image is flipped, turned, zoomed, moved, cropped, lit.

Source: keras/src/layers/preprocessing/image_preprocessing/ (Keras 3.15), tf_keras/src/layers/preprocessing/
image_preprocessing.py (tf_keras 2.21). With Keras 3.7 the layers got a base class and some got other draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weight_transfer.layer_types.activations import is_keras_3
from weight_transfer.layer_types.axes import data_format_of, same_shape
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape
from weight_transfer.layer_types.poolings import require_rank, with_spatial

FLIPS = ("horizontal_and_vertical", "horizontal", "vertical")
FILL_MODES = ("reflect", "wrap", "constant", "nearest")


def _as_image(options: Options) -> None:
    """Reads what all have, and refuses what is no image or would be augmented along other axes than an image's."""
    require_rank(options, 3)
    if options.data_format == "channels_first" and options.take("data_format") is None:
        raise options.refusal("takes its images channels_last in a model that has them channels_first")
    data_format_of(options)
    options.take("rng_type")


def _since_3_7(options: Options) -> bool:
    version = str(options.take("keras_version", "3.7")).split(".")
    return is_keras_3(options) and tuple(int(part) for part in version[:2] if part.isdigit()) >= (3, 7)


def _number(options: Options, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise options.refusal(f"{key}={value!r} is not supported. Expected numbers")
    return float(value)


def _bounds(options: Options, key: str, default: Any = None) -> list[float]:
    """The least and the greatest of what is drawn: given both, or one for either side."""
    value = options.take(key, default)
    if isinstance(value, Sequence) and len(value) == 2:
        return sorted(_number(options, key, bound) for bound in value)
    return [-abs(_number(options, key, value)), abs(_number(options, key, value))]


def _fill(options: Options) -> Settings:
    options.must_be("fill_mode", *FILL_MODES)
    options.must_be("interpolation", "bilinear", "nearest")
    return {
        "fill_mode": options.take("fill_mode", "reflect"),
        "fill_value": _number(options, "fill_value", options.take("fill_value", 0.0)),
        "interpolation": options.take("interpolation", "bilinear"),
    }


def _flip(options: Options) -> Settings:
    _as_image(options)
    options.must_be("mode", *FLIPS)
    mode = options.take("mode", FLIPS[0])
    return {"horizontal": mode != "vertical", "vertical": mode != "horizontal", "together": _since_3_7(options)}


def _rotation(options: Options) -> Settings:
    _as_image(options)
    return {"factor": _bounds(options, "factor"), **_fill(options)}


def _zoom(options: Options) -> Settings:
    _as_image(options)
    width = None if options.take("width_factor") is None else _bounds(options, "width_factor")
    return {"height_factor": _bounds(options, "height_factor"), "width_factor": width, **_fill(options)}


def _translation(options: Options) -> Settings:
    _as_image(options)
    factors = {key: _bounds(options, key) for key in ("height_factor", "width_factor")}
    return {**factors, **_fill(options)}


def _contrast(options: Options) -> Settings:
    _as_image(options)
    factor, of_each = options.take("factor"), _since_3_7(options)
    if not isinstance(factor, Sequence):
        factor = [0.0 if of_each else factor, factor]
    lower, upper = (_number(options, "factor", bound) for bound in factor)
    return {"factor": [1 - lower, 1 + upper], "value_range": _value_range(options), "each": of_each}


def _brightness(options: Options) -> Settings:
    _as_image(options)
    return {"factor": _bounds(options, "factor"), "value_range": _value_range(options)}


def _value_range(options: Options) -> list[float]:
    return _bounds(options, "value_range", (0, 255))


def _crop(options: Options) -> Settings:
    _as_image(options)
    size = [options.take("height"), options.take("width")]
    if any(not isinstance(length, int) or length < 1 for length in size):
        raise options.refusal(f"height and width of {size} are not supported. Expected whole numbers")
    return {"size": size, "at_inference": not _since_3_7(options), "data_format": options.data_format}


def _cropped(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    return with_spatial(settings["data_format"], in_shapes[0], settings["size"])


_SETTINGS: Mapping[str, Callable[[Options], Settings]] = {
    "RandomFlip": _flip,
    "RandomRotation": _rotation,
    "RandomZoom": _zoom,
    "RandomTranslation": _translation,
    "RandomContrast": _contrast,
    "RandomBrightness": _brightness,
    "RandomCrop": _crop,
}


def says_nothing(class_name: str, settings: Settings) -> bool:
    """Whether this is an augmentation of which a file, as version 0.1.0 converted it, does not say what it does."""
    return class_name in _SETTINGS and not set(settings) - {"data_format"}


# A crop has its size in inference too, of the middle.
DRAWN = (
    "horizontal", "vertical", "together", "factor", "height_factor", "width_factor", "fill_mode", "fill_value",
    "interpolation", "value_range", "each",
)  # fmt: skip
AUGMENTATION_TYPES: Mapping[str, LayerType] = {
    class_name: LayerType(
        class_name,
        settings,
        _cropped if class_name == "RandomCrop" else same_shape,
        in_training=DRAWN,
        two_modes=True,
    )
    for class_name, settings in _SETTINGS.items()
}
