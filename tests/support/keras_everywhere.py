"""Small networks whose layers TensorFlow has no float64 kernel for on a CPU, or that used to be called different."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_checkpoints

FIRST = {"data_format": "channels_first"}


def save(path: Path, family: str, name: str) -> Path:
    """Writes a network with weights that tell its arrays apart; of ``fresh statistics`` those that Keras gives it."""
    keras = keras_checkpoints._family(family)
    keras.backend.clear_session()  # names count from here
    keras.utils.set_random_seed(0)
    model = NETWORKS[name](keras)
    if name != "fresh statistics":
        keras_checkpoints.randomize(model)
    model.save(path)
    return path


def _channels_first(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((3, 9, 7))
    x = layers.Conv2D(6, 3, strides=2, padding="same", **FIRST)(image)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.Add()([x, layers.SeparableConv2D(6, 3, padding="same", **FIRST)(x)])
    x = layers.MaxPooling2D(3, strides=2, padding="same", **FIRST)(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", **FIRST)(x)
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten(**FIRST)(x)))


def _channels_first_of_any_size(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((3, None, None))
    x = layers.Conv2D(2, 3, strides=4, padding="same", **FIRST)(image)
    return keras.Model(image, layers.GlobalMaxPooling2D(**FIRST)(x))


def _as_wide_as_channels(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((3, 5, 4))
    x = layers.Conv2D(4, 3, padding="same", name="conv", **FIRST)(image)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def _pools_of_volumes(keras: Any) -> Any:
    layers = keras.layers
    volume = layers.Input((6, 5, 4, 1))
    x = layers.Conv3D(3, 3, padding="same")(volume)
    x = layers.MaxPooling3D(2, padding="same")(x)
    x = layers.AveragePooling3D((1, 2, 2), strides=1)(layers.BatchNormalization()(x))
    return keras.Model(volume, layers.Dense(2)(layers.Flatten()(x)))


def _bilinear(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 6, 3))
    x = layers.UpSampling2D(2, interpolation="bilinear", name="doubled")(layers.Resizing(5, 7)(image))
    x = layers.UpSampling2D(3, interpolation="bilinear", name="tripled")(layers.Conv2D(2, 3)(x))
    return keras.Model(image, layers.Conv2D(2, 3)(x))


def _fresh_statistics(keras: Any) -> Any:
    """A batch norm that moves nothing feeds a convolution without bias: the mean behind it is zero but for rounding."""
    layers = keras.layers
    image = layers.Input((12, 12, 3))
    x = layers.BatchNormalization(name="first")(layers.Conv2D(4, 3, use_bias=False)(image))
    x = layers.BatchNormalization(name="behind")(layers.Conv2D(6, 1, use_bias=False)(x))
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def _no_parameters(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((6, 6, 3))
    x = layers.BatchNormalization(scale=False, center=False)(image)
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(x)))


def _shared_last_layer(keras: Any) -> Any:
    layers = keras.layers
    shared = layers.Dense(4, activation="softmax", name="shared")
    vector = layers.Input((4,))
    return keras.Model(vector, shared(layers.Dense(4)(shared(vector))))


def _whole_numbers(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((6, 6, 3), dtype="uint8")
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 127.5, offset=-1)(layers.ZeroPadding2D()(image)))
    return keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalMaxPooling2D()(x)))


NETWORKS: dict[str, Callable[[Any], Any]] = {
    "channels first": _channels_first,
    "channels first, any size": _channels_first_of_any_size,
    "as wide as it has channels": _as_wide_as_channels,
    "pools of volumes": _pools_of_volumes,
    "bilinear": _bilinear,
    "fresh statistics": _fresh_statistics,
    "no parameters": _no_parameters,
    "shared last layer": _shared_last_layer,
    "whole numbers": _whole_numbers,
}
