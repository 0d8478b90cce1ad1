"""Cutting the centre out of an image, as Keras code does before or after it resizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy.typing as npt

from weight_transfer.errors import ImageError

Image = npt.NDArray[Any]
Size = tuple[int, int]
# (H, W) to resize to, of which the network's size is cut out; or ``aspect``: the largest part of the network's
# aspect ratio is cut out, then resized (``crop_to_aspect_ratio``, ``keep_aspect_ratio``); or the whole image.
Crop = Size | Literal["aspect"] | None


def fitted(image: Image, size: Size | None, crop: Crop, resize: Callable[[Image, Size], Image]) -> Image:
    """Returns an image of the network's size.

    Args:
        image: (H, W, C).
        size: (H, W) of the network, or None to leave images as large as they are.
        crop: What to cut out.
        resize: To the size it is given.

    Raises:
        ImageError: What is to be cut out is larger than what it is cut out of, or there is no size to cut out.

    Source: keras/src/utils/image_utils.py, smart_resize, Keras 3.15; keras.layers.CenterCrop for a size.
    """
    if crop is not None and size is None:
        raise ImageError("a crop needs a size to cut out, and the network takes any. Name one: --input-size.")
    if size is None or (crop is None and image.shape[:2] == size):
        return image
    if crop == "aspect":
        height, width = image.shape[:2]
        wanted = min(height, width * size[0] // size[1]), min(width, height * size[1] // size[0])
        return resize(_centre(image, (max(wanted[0], 1), max(wanted[1], 1))), size)
    if crop is None:
        return resize(image, size)
    if crop[0] < size[0] or crop[1] < size[1]:
        raise ImageError(
            f"a centre of {size[0]}x{size[1]} cannot be cut out of {crop[0]}x{crop[1]}. Expected a --crop of at least "
            "the network's size."
        )
    return _centre(resize(image, crop) if image.shape[:2] != crop else image, size)


def _centre(image: Image, size: Size) -> Image:
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    return image[top : top + size[0], left : left + size[1]]


def crop_of(value: Any) -> Crop:
    """Returns what ``256``, ``256x288`` or ``aspect`` says, or a list of two numbers as JSON has it.

    Raises:
        ImageError: It says something else.
    """
    if value is None or value == "aspect":
        return value  # type: ignore[no-any-return]
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", value) if isinstance(value, str) else None
    found = (int(match[1]), int(match[2] or match[1])) if match else tuple(value) if not isinstance(value, str) else ()
    if len(found) != 2 or any(type(n) is not int or n < 1 for n in found):
        raise ImageError(f"crop must be a size such as 256 or 256x288, or 'aspect'. Received: {value!r}")
    return found


def crop_text(crop: Crop) -> str:
    """``resized to 256x256, the centre cut out``."""
    if crop is None:
        return "no crop"
    if crop == "aspect":
        return "the centre of the network's aspect ratio cut out, then resized"
    return f"resized to {crop[0]}x{crop[1]}, the centre cut out"
