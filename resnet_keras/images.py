"""Image files to pixels by the reference's own code: Keras's, OpenCV's, TensorFlow's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from weight_transfer.errors import ImageError
from weight_transfer.images import ImageLoading, check_loading
from weight_transfer.images.formats import check_format
from weight_transfer.preprocessing import Preprocessing

MODES = ("caffe", "tf", "torch")
COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
Size = tuple[int, int]


def load_images(
    paths: Sequence[str | os.PathLike[str]], size: Size | None, loading: ImageLoading, channels: int = 3
) -> np.ndarray:
    """Loads image files as one batch; the twin of `weight_transfer.images.load_images`.

    Args:
        paths: At least one file.
        size: (H, W) to resize to; None keeps the files' own, which must then be equal.
        loading: Whose code to run.
        channels: 3 for RGB, 1 for grey, 4 for RGBA.

    Returns:
        (N, H, W, channels), float32 or, for ``opencv``, uint8.

    Raises:
        ImageError: There is no such way, or a package is missing.
    """
    return np.stack([load_image(path, size, loading, channels) for path in paths])


def load_image(path: str | os.PathLike[str], size: Size | None, loading: ImageLoading, channels: int = 3) -> np.ndarray:
    """Loads one image file.

    Args:
        path: The file.
        size: (H, W) to resize to, or None.
        loading: Whose code to run.
        channels: 3 for RGB, 1 for grey, 4 for RGBA.

    Returns:
        (H, W, channels), float32 or, for ``opencv``, uint8.

    Raises:
        ImageError: There is no such way, a package is missing, or the file is of no known format.
    """
    check_loading(loading, channels)
    try:
        check_format(Path(path).read_bytes())
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    return WAYS[loading](os.fspath(path), size, channels)


def _keras(path: str, size: Size | None, channels: int) -> np.ndarray:
    image = keras.utils.load_img(path, color_mode=COLOR_MODES[channels], target_size=size)
    array: np.ndarray = keras.utils.img_to_array(image, data_format="channels_last", dtype="float32")
    return array


def _opencv(path: str, size: Size | None, channels: int) -> np.ndarray:
    import cv2

    image: Any = cv2.imread(path, cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ImageError(f"{path}: OpenCV cannot read it.")
    if channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if size is not None:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    array: np.ndarray = image if image.ndim == 3 else image[..., np.newaxis]
    return array


def _resizing(path: str, size: Size | None, channels: int) -> np.ndarray:
    image = tf.io.decode_image(tf.io.read_file(path), channels=channels, expand_animations=False)
    image = tf.cast(image, "float32")
    array: np.ndarray = (image if size is None else tf.image.resize(image, size, method="bilinear")).numpy()
    return array


def network_input(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Returns what an owner's own code feeds the network: keras.applications' function, where it has one.

    Args:
        images: RGB in 0..255, (N, H, W, C).
        preprocessing: What the owner does.

    Raises:
        TransferError: It does not fit images of so many channels.
    """
    how = preprocessing.on_channels(images.shape[-1])
    x = images.astype(np.float32)
    if how.name in MODES:
        made: np.ndarray = keras.applications.imagenet_utils.preprocess_input(x, mode=how.name)
        return made
    x = (x[..., ::-1] if how.channel_order == "BGR" else x) / np.float32(how.divisor)
    x = x - np.asarray(how.mean or 0, np.float32)
    made = x / np.asarray(how.std or 1, np.float32)
    return made


WAYS: Mapping[ImageLoading, Callable[[str, Size | None, int], np.ndarray]] = {
    "keras": _keras,
    "opencv": _opencv,
    "resizing": _resizing,
}
