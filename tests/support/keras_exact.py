"""A network of which photographs show little: its first activation is dead, its last saturated."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save(path: Path) -> Path:
    """Builds the network by Keras, and saves it."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="conv0")(image)
    dead = layers.ReLU(name="dead")(x)
    a = layers.BatchNormalization(name="bn_a")(layers.Conv2D(6, 3, padding="same", name="a")(dead))
    b = layers.BatchNormalization(name="bn_b")(layers.Conv2D(6, 3, padding="same", name="b")(dead))
    x = layers.Subtract(name="sub")([layers.ReLU(6.0, name="clip")(a), b])
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool")(x)
    x = layers.AveragePooling2D(3, 2, padding="same", name="average")(x)
    x = layers.Flatten(name="flat")(layers.LeakyReLU(0.2, name="leaky")(x))
    x = layers.Dense(5, activation="tanh", name="hidden")(x)
    model = keras.Model(image, layers.Dense(4, activation="softmax", name="classes")(x), name="m")
    model.get_layer("conv0").set_weights([w if w.ndim > 1 else np.full_like(w, -1e4) for w in model.layers[1].weights])
    kernel, bias = model.get_layer("classes").get_weights()
    model.get_layer("classes").set_weights([kernel, bias + np.array([90, 0, 0, 0], np.float32)])
    model.save(path)
    return path
