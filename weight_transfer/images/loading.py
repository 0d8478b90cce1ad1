"""The three ways from an image file to pixels that Keras code takes, each bit for bit.

They differ by more than rounding: in the pixels that a resized image keeps, in whether a phone's
rotation counts, in how a JPEG is decoded. A file of weights shows none of it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import ImageError
from weight_transfer.images import keras_load_img, opencv, resizing
from weight_transfer.images.cropping import Crop, Size, fitted
from weight_transfer.images.formats import check_format

ImageLoading = Literal["keras", "opencv", "resizing"]
Image = npt.NDArray[Any]


@dataclass(frozen=True)
class Way:
    """One way of loading.

    Attributes:
        title: Whose calls these are.
        words: What they do where the ways differ.
        channels: How many channels it can give.
        needs: What it imports, and the package that has it.
        load: From a file's bytes, a size or None, and a number of channels, to (H, W, C).
        resize: An image that is loaded already, to a size.
    """

    title: str
    words: str
    channels: tuple[int, ...]
    needs: Mapping[str, str]
    load: Callable[[bytes, Size | None, int], Image]
    resize: Callable[[Image, Size], Image]


PILLOW = {"PIL": "pillow"}
WAYS: Mapping[ImageLoading, Way] = {
    "keras": Way(
        title="keras.utils.load_img",
        words="read by Pillow, EXIF rotation ignored, resized to the nearest pixel",
        channels=(1, 3, 4),
        needs=PILLOW,
        load=keras_load_img.load,
        resize=keras_load_img.resize,
    ),
    "opencv": Way(
        title="cv2.imread, cv2.cvtColor to RGB, cv2.resize",
        words="read by OpenCV, EXIF rotation applied, resized bilinearly, rounded to whole numbers",
        channels=(1, 3),
        needs={"cv2": "opencv-python-headless", **PILLOW},
        load=opencv.load,
        resize=opencv.resize,
    ),
    "resizing": Way(
        title="keras.utils.image_dataset_from_directory, tf.image.resize",
        words="read as TensorFlow does (JPEG by the fast DCT), EXIF rotation ignored, resized bilinearly "
        "without antialiasing, not rounded",
        channels=(1, 3),
        needs={"simplejpeg": "simplejpeg", **PILLOW},
        load=resizing.load,
        resize=resizing.resize,
    ),
}


def load_images(
    paths: Sequence[str | os.PathLike[str]],
    size: Size | None,
    loading: ImageLoading,
    channels: int = 3,
    crop: Crop = None,
) -> Image:
    """Loads image files as one batch.

    Args:
        paths: At least one file.
        size: (H, W) to resize to; None keeps the files' own, which must then be equal.
        loading: Whose code to follow.
        channels: 3 for RGB, 1 for grey, 4 for RGBA.
        crop: What to cut out of the centre.

    Returns:
        (N, H, W, channels), float32 or, for ``opencv``, uint8; in 0..255, but for Keras's 16-bit grey.

    Raises:
        ImageError: As `load_image`; or there are no files, or they differ in size.

    Example:
        >>> images = load_images(["cat.jpg"], (224, 224), "keras")
    """
    if not paths:
        raise ImageError("there are no image files to load.")
    images = [load_image(path, size, loading, channels, crop) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            height, width = images[0].shape[:2]
            raise ImageError(
                f"{path}: {image.shape[0]}x{image.shape[1]}. Expected {height}x{width}, the size of {paths[0]}: "
                "images of one batch have one size. Name a size to resize them to."
            )
    return np.stack(images)


def load_image(
    path: str | os.PathLike[str], size: Size | None, loading: ImageLoading, channels: int = 3, crop: Crop = None
) -> Image:
    """Loads one image file; what is loaded goes to `preprocess`.

    Args:
        path: The file.
        size: (H, W) to resize to, or None.
        loading: Whose code to follow.
        channels: 3 for RGB, 1 for grey, 4 for RGBA.
        crop: What to cut out of the centre.

    Returns:
        (H, W, channels), float32 or, for ``opencv``, uint8.

    Raises:
        ImageError: The file cannot be read, this way does not read such files, or a package is missing.
    """
    check_loading(loading, channels)
    if size is not None and (len(size) != 2 or any(n < 1 for n in size)):
        raise ImageError(f"a size must be (H, W) of whole numbers from 1. Received: size={size}")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}). Expected an image file.") from error
    return decode_image(data, str(path), size, loading, channels, crop)


def decode_image(
    data: bytes, place: str, size: Size | None, loading: ImageLoading, channels: int = 3, crop: Crop = None
) -> Image:
    """Loads an image from its file's bytes, as `load_image` does from the file.

    Args:
        data: The bytes.
        place: Where they are from, for messages.
        size: (H, W) to resize to, or None.
        loading: Whose code to follow.
        channels: 3 for RGB, 1 for grey, 4 for RGBA.
        crop: What to cut out of the centre.

    Returns:
        (H, W, channels), float32 or, for ``opencv``, uint8.

    Raises:
        ImageError: They are no readable image, or this way does not read such files.
    """
    try:
        check_format(data)
        way = WAYS[loading]
        if crop is None:
            return way.load(data, size, channels)
        return fitted(way.load(data, None, channels), size, crop, way.resize)
    except ImageError as error:
        raise ImageError(f"{place}: {error}") from error
    except Exception as error:  # of a decoder, whose errors are of many classes
        why = f"{type(error).__name__}: {error}".partition(" <_io.")[0]  # Pillow adds where the bytes lie in memory
        raise ImageError(f"{place}: not a readable image ({why}). Expected a whole JPEG, PNG or the like.") from error


def check_loading(loading: ImageLoading, channels: int = 3) -> None:
    """Raises ImageError where there is no such way, it has not so many channels, or a package is missing."""
    if loading not in WAYS:
        raise ImageError(f"image loading must be one of {tuple(WAYS)}. Received: {loading!r}")
    way = WAYS[loading]
    if channels not in way.channels:
        raise ImageError(
            f"image loading {loading!r} gives {' or '.join(map(str, way.channels))} channels. "
            f"Received: channels={channels}"
        )
    missing = [package for name, package in way.needs.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise ImageError(
            f"image loading {loading!r} needs {' and '.join(missing)}, not installed. "
            "Install what reads images: pip install 'keras-resnet-to-torch[images]'"
        )
