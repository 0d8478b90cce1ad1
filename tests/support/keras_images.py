"""What real Keras, OpenCV and TensorFlow make of image files: functions to call through ``keras_side``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def loaded(
    paths: Sequence[Path], size: tuple[int, int] | None, loading: str, channels: int
) -> dict[str, np.ndarray | str]:
    """Each file's array by name, or what the reference said against it."""
    from resnet_keras.images import load_image

    found: dict[str, np.ndarray | str] = {}
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of palettes
            try:
                found[path.name] = load_image(path, size, loading, channels)
            except Exception as error:
                found[path.name] = f"{type(error).__name__}: {error}"
    return found


def batch(paths: Sequence[Path], size: tuple[int, int], loading: str) -> np.ndarray:
    """The files as one batch, by `resnet_keras`."""
    from resnet_keras.images import load_images

    return load_images(paths, size, loading)


def dataset(folder: Path, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """What ``keras.utils.image_dataset_from_directory`` gives for the files of a folder, by name."""
    import keras

    images = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=size, batch_size=None, shuffle=False, verbose=False
    )
    return {Path(path).name: image.numpy() for path, image in zip(images.file_paths, images, strict=True)}


def resized_by_the_layer(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What ``keras.layers.Resizing`` makes of one image."""
    import keras

    return np.asarray(keras.layers.Resizing(*size)(image[np.newaxis]))[0]


def resized(images: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """What ``tf.image.resize`` makes of images."""
    import tensorflow as tf

    return [tf.image.resize(image, size).numpy() for image, size in zip(images, sizes, strict=True)]


def preprocessed(images: np.ndarray, mode: str, data_format: str, as_tensor: bool) -> np.ndarray:
    """What keras.applications makes of images in 0..255, in their own dtype, as an array or as a tensor."""
    import keras

    given = keras.ops.convert_to_tensor(images) if as_tensor else images.copy()  # Keras writes into float arrays
    function = keras.applications.imagenet_utils.preprocess_input
    return np.asarray(function(given, mode=mode, data_format=data_format))


def predicted(model: Path, paths: Sequence[Path], size: tuple[int, int], loading: str, mode: str) -> np.ndarray:
    """What the Keras model of a file says of image files, by Keras's own code all the way."""
    import keras

    from resnet_keras.images import load_images

    images = load_images(paths, size, loading).astype("float32")
    inputs = keras.applications.imagenet_utils.preprocess_input(images, mode=mode)
    return keras.models.load_model(model, compile=False).predict(inputs, verbose=0)


def cropped(path: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A file by `load_img` with ``keep_aspect_ratio``, and by a dataset's ``crop_to_aspect_ratio``: `smart_resize`."""
    import keras

    kept = keras.utils.img_to_array(keras.utils.load_img(path, target_size=size, keep_aspect_ratio=True))
    whole = keras.utils.img_to_array(keras.utils.load_img(path))
    return kept, np.asarray(keras.preprocessing.image.smart_resize(whole, size))
