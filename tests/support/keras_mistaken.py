"""Four small networks in which mistakes hide: functions to call through ``keras_side``.

In "dead" a ReLU gives zero on every image, in "saturated" a sigmoid and the softmax are at their ends, in "tiny" a
branch is a millionth of the other. "twice called" has shared layers, and calls that say their own mode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from keras_zoo import save_as, seed_weights


def save(path: Path, name: str) -> Path:
    """Builds a network with weights of its own, hides what is to be hidden, and saves it."""
    if name == "twice called":
        import tf_keras as keras
    else:
        import keras
    keras.backend.clear_session()
    model = seed_weights(keras, NETWORKS[name](keras), noise=1.0)
    for layer in ("frozen", "frozen_norm"):
        if any(one.name == layer for one in model.layers):
            model.get_layer(layer).trainable = False
    HIDDEN.get(name, lambda model: None)(model)
    return save_as(path, model)


def _dead(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((24, 24, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", kernel_regularizer="l2", name="first")(image)
    x = y = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="first_norm")(x))
    for number in (1, 2, 3):
        y = layers.Conv2D(8, 3, padding="same", name=f"conv{number}")(y)
        y = layers.BatchNormalization(epsilon=1.001e-5, name=f"norm{number}")(y)
        y = layers.ReLU(name=f"relu{number}")(y)
    x = layers.Add(name="sum")([x, layers.Conv2D(8, 1, name="last")(y)])
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    x = layers.ZeroPadding2D(1, name="pad")(layers.SpatialDropout2D(0.2, name="maps")(x))
    x = layers.Conv2D(16, 3, activation="relu", kernel_constraint="max_norm", name="fused")(x)
    x = layers.Dropout(0.4, name="drop")(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(image, layers.Dense(5, activation="softmax", name="head")(x))


def _die(model: Any) -> None:
    """The second ReLU is given nothing above zero, so that the third convolution sees zeros."""
    gamma, _, *statistics = model.get_layer("norm2").get_weights()
    model.get_layer("norm2").set_weights([gamma, np.full_like(gamma, -50), *statistics])


def _saturated(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((13, 13, 3))
    x = layers.Conv2D(6, 3, padding="same", name="first")(image)
    x = layers.LeakyReLU(name="leaky")(layers.BatchNormalization(name="first_norm")(x))
    x = layers.AveragePooling2D(3, strides=2, padding="same", name="means")(x)
    x = layers.Conv2D(6, 3, strides=2, name="strided")(x)
    x = layers.ReLU(max_value=6, negative_slope=0.2, threshold=0.5, name="clipped")(x)
    x = layers.Conv2D(6, 3, padding="same", activation="sigmoid", name="gates")(x)
    x = layers.Conv2D(6, 3, padding="same", name="between")(x)
    x = layers.ReLU(max_value=6.0, name="relu6")(layers.BatchNormalization(name="second_norm")(x))
    x = layers.MaxPooling2D(2, strides=1, name="largest")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(layers.Flatten(name="flat")(x))
    x = layers.Dense(6, activation="relu", name="hidden2")(x)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="head")(x))


def _saturate(model: Any) -> None:
    """The sigmoid and the softmax are given numbers in the thousands."""
    for name in ("gates", "head"):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel * 1e4, bias])


def _tiny(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((15, 15, 3))
    x = layers.Conv2D(6, 3, padding="same", name="first")(layers.GaussianNoise(0.3, name="noise")(image))
    x = layers.BatchNormalization(momentum=0.9, name="first_norm")(x)
    y = layers.Conv2D(6, 3, padding="same", bias_regularizer="l1", name="inner")(layers.ReLU(name="relu")(x))
    y = layers.BatchNormalization(name="inner_norm")(y)
    y = layers.ReLU(name="inner_relu")(y)
    y = layers.Conv2D(6, 3, padding="same", name="outer")(y)
    y = layers.BatchNormalization(name="outer_norm")(y)
    x = layers.Add(name="sum")([x, y])
    x = layers.Concatenate(name="joined")([x, layers.Subtract(name="less")([y, x])])
    x = layers.MaxPooling2D(2, padding="same", name="pool")(x)
    x = layers.ReLU(name="after")(layers.Conv2D(8, 3, padding="same", name="frozen")(x))
    x = layers.GaussianDropout(0.2, name="times")(layers.GlobalMaxPooling2D(name="largest")(x))
    return keras.Model(image, layers.Dense(3, activation="sigmoid", name="head")(x))


def _shrink(model: Any) -> None:
    """What the branch adds is a millionth."""
    gamma, beta, *statistics = model.get_layer("outer_norm").get_weights()
    model.get_layer("outer_norm").set_weights([gamma * 1e-6, beta * 1e-6, *statistics])


def _twice_called(keras: Any) -> Any:
    layers = keras.layers
    first, second = layers.Input((12, 12, 3)), layers.Input((12, 12, 3))
    conv = layers.Conv2D(6, 3, padding="same", name="conv", dtype="mixed_float16")
    norm = layers.BatchNormalization(momentum=0.9, name="norm")
    a, b = norm(conv(first)), norm(conv(second))
    x = layers.ReLU(name="relu")(layers.Subtract(name="less")([a, b]))
    x = layers.Conv2D(6, 3, padding="same", name="frozen")(x)
    x = layers.BatchNormalization(name="still")(x, training=False)
    x = layers.ReLU(name="last_relu")(x)
    x = layers.Dropout(0.5, name="drop")(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model([first, second], layers.Dense(3, name="head")(x))


NETWORKS = {"dead": _dead, "saturated": _saturated, "tiny": _tiny, "twice called": _twice_called}
HIDDEN = {"dead": _die, "saturated": _saturate, "tiny": _shrink}
