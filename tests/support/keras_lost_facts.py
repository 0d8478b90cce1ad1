"""Checkpoints and what a careless port makes of them: pairs of files, called through the ``keras_side`` fixture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def seeded(model: Any) -> Any:
    """Gives every array numbers of an ordinary size; variances are positive."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.2, 1.0, array.shape) for array in model.get_weights()])
    return model


def written(folder: Path, what: str) -> tuple[Path, Path]:
    """The owner's file, and one that has lost the fact; a key of `LOST`."""
    return LOST[what](folder)


def _theano(folder: Path) -> tuple[Path, Path]:
    """Trained on Theano, which turns its kernels; and the same arrays without the word of it."""
    import tf_keras as keras

    layers = keras.layers
    image = layers.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv2d_1")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 3, padding="same", name="conv2d_2")(x))
    right, lost = folder / "theano.h5", folder / "unturned.h5"
    seeded(keras.Model(image, layers.Dense(3, activation="softmax", name="dense_1")(x))).save(right)
    shutil.copy(right, lost)
    with h5py.File(right, "r+") as file:
        for group in (file, file["model_weights"]):
            group.attrs.update({"backend": b"theano", "keras_version": b"2.1.5"})
    return right, lost


def _constraint(folder: Path) -> tuple[Path, Path]:
    import keras

    def model(constraint: str | None) -> Any:
        image = keras.Input((10, 10, 3), name="image")
        x = keras.layers.Conv2D(4, 3, kernel_constraint=constraint, name="conv")(image)
        return seeded(
            keras.Model(image, keras.layers.Dense(3, name="dense")(keras.layers.GlobalMaxPooling2D(name="pool")(x)))
        )

    right, lost = folder / "constrained.keras", folder / "free.keras"
    model("max_norm").save(right)
    model(None).save(lost)
    return right, lost


def _mode(folder: Path) -> tuple[Path, Path]:
    """A batch norm that its call keeps in inference mode, as transfer learning has it; and one that learns."""
    import tf_keras as keras

    def model(**mode: Any) -> Any:
        image = keras.layers.Input((10, 10, 3), name="image")
        x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="conv")(image), **mode)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        return seeded(keras.Model(image, keras.layers.Dense(3, name="dense")(x)))

    right, lost = folder / "kept.h5", folder / "moves.h5"
    model(training=False).save(right)
    model().save(lost)
    return right, lost


def auto_named(folder: Path) -> tuple[Path, Path]:
    """Weights of two layers of one shape, whose automatic names another run turned; and the model's JSON."""
    import tf_keras as keras

    image = keras.layers.Input((8, 8, 3), name="input_1")
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv2d")
    other = keras.layers.Conv2D(3, 3, padding="same", name="conv2d_1")
    model = seeded(keras.Model(image, keras.layers.Add(name="add")([other(conv(image)), image])))
    weights, config = folder / "weights.h5", folder / "model.json"
    model.save_weights(weights)
    text = model.to_json()
    turned = text.replace('"conv2d_1"', '"later"').replace('"conv2d"', '"conv2d_1"').replace('"later"', '"conv2d"')
    config.write_text(json.dumps(json.loads(turned)))
    return weights, config


LOST = {"theano": _theano, "constraint": _constraint, "training=False": _mode}
