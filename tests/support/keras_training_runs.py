"""Training runs of real Keras: functions to call through ``keras_side``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np


def fresh(path: Path, **arguments: Any) -> Path:
    """Saves `resnet_keras.create_resnet(**arguments)` as Keras starts it, every bias zero."""
    import keras

    from resnet_keras import create_resnet

    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HDF5 is old
        create_resnet(**arguments).save(path)
    return path


def tf_keras_model(path: Path) -> Path:
    """Saves a small functional model of tf_keras whose biases and statistics are not trivial."""
    import tf_keras
    from tf_keras import layers

    image = layers.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    model = tf_keras.Model(image, layers.Dense(3, activation="softmax", name="fc")(x))
    random = np.random.default_rng(3)
    model.set_weights([random.uniform(0.2, 0.6, value.shape) * random.choice([-1, 1]) for value in model.get_weights()])
    norm = model.get_layer("norm")
    norm.set_weights([abs(value) for value in norm.get_weights()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HDF5 is old
        model.save(path)
    return path
