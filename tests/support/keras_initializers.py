"""What real Keras initializers draw: functions to call through ``keras_side``."""

from __future__ import annotations

from typing import Any

import numpy as np


def drawn(initializers: list[tuple[str, dict[str, Any]]], shapes: list[tuple[int, ...]]) -> list[list[np.ndarray]]:
    """One draw of each initializer (class, arguments) in each shape."""
    import keras

    keras.utils.set_random_seed(3)
    return [
        [np.asarray(getattr(keras.initializers, name)(**arguments)(shape)) for shape in shapes]
        for name, arguments in initializers
    ]


def serialized(initializers: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Their configs, as a layer's config holds them."""
    import keras

    return [keras.initializers.serialize(getattr(keras.initializers, name)(**given)) for name, given in initializers]
