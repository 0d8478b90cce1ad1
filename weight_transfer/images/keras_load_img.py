"""Loading as ``keras.utils.img_to_array(keras.utils.load_img(path, target_size=size))``.

Source: keras/src/utils/image_utils.py, load_img and img_to_array, of Keras 3.15.1; the same in every Keras 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.images.formats import opened

# By number of channels: Pillow's modes that stay as they are, and the one that all others become. Keras keeps
# 16-bit grey for grey, 0..65535; for RGB Pillow cuts it off at 255.
MODES: Mapping[int, tuple[tuple[str, ...], str]] = {
    1: (("L", "I;16", "I"), "L"),
    3: (("RGB",), "RGB"),
    4: (("RGBA",), "RGBA"),
}


def load(data: bytes, size: tuple[int, int] | None, channels: int) -> npt.NDArray[Any]:
    """Returns (H, W, channels), float32.

    Args:
        data: The file's bytes.
        size: (H, W) to resize to, or None.
        channels: A key of `MODES`.
    """
    from PIL import Image

    kept, target = MODES[channels]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Palette images with Transparency", category=UserWarning)
        image: Image.Image = opened(data)
        if image.mode not in kept:
            image = image.convert(target)
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
    array = np.asarray(image, dtype=np.float32)
    return array if array.ndim == 3 else array[..., np.newaxis]


def resize(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resizes to the nearest pixel, as Pillow does, an image that is loaded already.

    Args:
        image: (H, W, C), of any dtype.
        size: (H, W) of the result.
    """
    from PIL import Image

    height, width = image.shape[:2]
    places = Image.fromarray(np.arange(height * width, dtype=np.int32).reshape(height, width))
    chosen = np.asarray(places.resize((size[1], size[0]), Image.Resampling.NEAREST))
    resized: npt.NDArray[Any] = image.reshape(height * width, -1)[chosen]
    return resized
