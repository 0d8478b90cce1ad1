"""Small networks that people port by hand, saved by real Keras: functions to call through ``keras_side``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from keras_zoo import save_as, seed_weights

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


def save_residual(path: Path, frozen: bool = False) -> Path:
    """Saves a network of free size with a stride, an activation inside a convolution, and three random layers.

    Args:
        path: Of the file.
        frozen: Whether ``stem`` and ``bn1`` do not learn.
    """
    keras = _family("keras")
    layers = keras.layers
    image = keras.Input((None, None, 3))
    x = layers.GaussianNoise(0.1, name="noise")(image)
    stem = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem", trainable=not frozen)
    x = layers.BatchNormalization(momentum=0.9, name="bn1", trainable=not frozen)(stem(x))
    x = layers.ReLU(name="r1")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="a")(x)
    y = layers.BatchNormalization(momentum=0.9, name="bna")(layers.SpatialDropout2D(0.25, name="drop2d")(y))
    x = layers.GlobalAveragePooling2D(name="gap")(layers.ReLU(name="ra")(layers.Add(name="add")([x, y])))
    x = layers.Dropout(0.5, name="drop")(x)
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="cls")(x))
    return save_as(path, seed_weights(keras, model, 7, noise=1.0))


def save_kinds(path: Path) -> Path:
    """Saves layers whose arrays lie in PyTorch modules of many kinds, one of them called twice; one is dead."""
    keras = _family("keras")
    layers = keras.layers
    image = keras.Input((9, 8, 4))
    x = layers.DepthwiseConv2D(3, name="depthwise")(image)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.SeparableConv2D(6, 3, name="separable")(x)
    x = layers.GroupNormalization(3, name="group")(x)
    x = layers.Add(name="add")([x, layers.ReLU(threshold=1e6, name="dead")(x)])
    twice = layers.Dense(6, activation="tanh", name="twice")
    x = layers.Flatten(name="flat")(twice(twice(x)))
    model = keras.Model(image, layers.Dense(3, name="last")(layers.Dropout(0.3, name="drop")(x)))
    return save_as(path, seed_weights(keras, model, 8, noise=1.0))


def save_always_dropping(path: Path) -> Path:
    """Saves a network of tf_keras whose dropout acts in inference too, by the word of its call."""
    keras = _family("tf_keras")
    layers = keras.layers
    given = keras.Input((6,))
    x = layers.Dropout(0.4, name="drop")(layers.Dense(8, name="first")(given), training=True)
    model = keras.Model(given, layers.Dense(3, name="last")(x))
    return save_as(path, seed_weights(keras, model, 9, noise=1.0))


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
