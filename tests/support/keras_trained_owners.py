"""A network that its owner compiled and trained for some steps: functions to call through ``keras_side``."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from pathlib import Path

import numpy as np

STEPS = 3
ARRAYS = (
    *(f"{layer}/{role}" for layer in ("conv", "still", "classes") for role in ("kernel", "bias")),
    *(f"norm/{role}" for role in ("gamma", "beta")),
)


def save(path: Path, family: str) -> Path:
    """Builds, compiles, trains and saves it.

    Args:
        path: The file; its ending decides the container.
        family: ``keras`` or ``tf_keras``.
    """
    keras = importlib.import_module(family)
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = layers.Input((10, 10, 3))
    x = layers.Conv2D(4, 3, padding="same", kernel_regularizer=keras.regularizers.L2(0.02), name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(momentum=0.9, name="norm")(x))
    x = layers.Conv2D(4, 3, padding="same", trainable=False, activation="relu", name="still")(layers.Dropout(0.4)(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, activation="softmax", kernel_constraint=keras.constraints.MaxNorm(0.6), name="classes")(x)
    model = keras.Model(image, x)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (6, 10, 10, 3)).astype(np.float32)
    for _ in range(STEPS):
        model.train_on_batch(images, random.integers(0, 3, 6))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        model.save(path)
    return path
