"""Small networks that people port by hand, saved by real Keras: functions to call through ``keras_side``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

IN_SHAPE = (24, 24, 3)


def save(path: Path, family: str = "keras", last: str = "fc") -> Path:
    """Saves the network that `own_port.Port` is a port of."""
    keras = _family(family)
    layers = keras.layers
    image = keras.Input(IN_SHAPE)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="conv_a")(image)
    x = layers.ReLU(name="act")(layers.BatchNormalization(name="bn_a")(x))
    x = layers.Flatten(name="flat")(x)
    return _save(keras.Model(image, layers.Dense(5, activation="softmax", name=last)(x)), path)


def save_with_attention(path: Path) -> Path:
    """Saves a network with a layer whose arrays share their last names: query/kernel, key/kernel, value/kernel."""
    keras = _family("keras")
    layers = keras.layers
    image = keras.Input(IN_SHAPE)
    x = layers.Conv2D(8, 3, strides=4, padding="valid", name="conv_a")(image)
    x = layers.Reshape((36, 8), name="tokens")(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    return _save(keras.Model(image, layers.GlobalAveragePooling1D(name="pooled")(x)), path)


def save_two_outputs(path: Path) -> Path:
    """Saves a network that cannot be told by one array: two inputs, two outputs."""
    keras = _family("keras")
    layers = keras.layers
    left, right = keras.Input(IN_SHAPE, name="left"), keras.Input((4,), name="right")
    x = layers.GlobalAveragePooling2D(name="pooled")(layers.Conv2D(4, 3, name="conv_a")(left))
    x = layers.Add(name="sum")([x, right])
    outputs = [layers.Dense(2, activation="sigmoid", name="yes")(x), layers.Dense(3, name="how_much")(x)]
    return _save(keras.Model([left, right], outputs), path)


def _save(model: Any, path: Path) -> Path:
    generator = np.random.default_rng(0)
    ranges = {1: (0.1, 0.3), 2: (-0.01, 0.01)}  # larger kernels saturate the softmax, which hides what they do
    weights = model.get_weights()
    model.set_weights([generator.uniform(*ranges.get(array.ndim, (-0.02, 0.02)), array.shape) for array in weights])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        model.save(path)
    return path


def _family(family: str) -> Any:
    if family == "keras":
        import keras
    else:
        import tf_keras as keras
    keras.backend.clear_session()
    return keras
