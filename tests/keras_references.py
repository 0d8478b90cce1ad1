"""References as real Keras loads them, and the files to try: functions to call through ``keras_side``.

Imports of Keras stand inside, since pytest's own process imports this module to name the functions.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import keras_checkpoints
import numpy as np

BOTH = ("keras", "tf_keras")
SUFFIXES = {"legacy-h5": ".h5", "keras-zip": ".keras"}


@dataclass(frozen=True)
class Loaded:
    """Attributes:
    loaded_by: As `Reference.loaded_by`.
    outputs: What the model gives for the inputs.
    leftovers: What the loading left in the folder of temporary files.
    """

    loaded_by: str
    outputs: np.ndarray
    leftovers: list[str]


@dataclass(frozen=True)
class Written:
    """Attributes:
    files: Path by container.
    inputs: Seeded, (2, 8, 8, 3).
    outputs: What the model gave for them before it was saved.
    """

    files: dict[str, Path]
    inputs: np.ndarray
    outputs: np.ndarray


def load(path: Path, inputs: np.ndarray, families: Sequence[str] = BOTH) -> Loaded:
    """Calls `load_reference` as if only these Kerases were installed."""
    from resnet_keras import reference

    modules = [keras_checkpoints._family(family) for family in families]
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(tempfile, "tempdir", folder),
        mock.patch.object(reference, "_keras_modules", return_value=modules),
        _silent(),
    ):
        loaded = reference.load_reference(path)
        leftovers = [item.name for item in Path(folder).iterdir()]
    outputs = np.asarray(loaded.model(inputs, training=False))
    return Loaded(loaded.loaded_by, outputs, leftovers)


def load_on_another_backend(path: Path) -> None:
    """Calls `load_reference` as if Keras ran on torch."""
    import keras

    from resnet_keras import reference

    with mock.patch.object(keras.backend, "backend", return_value="torch"):
        reference.load_reference(path)


def keras_refuses(path: Path, family: str, compiled: bool) -> bool:
    """Whether this Keras itself does not load the file."""
    try:
        with _silent():
            keras_checkpoints._family(family).models.load_model(path, compile=compiled)
    except Exception:  # whatever it raises
        return True
    return False


def written(folder: Path, family: str, model_name: str) -> Written:
    """Saves one of `keras_checkpoints.MODELS` with the real Keras, in both containers that hold a model."""
    keras = keras_checkpoints._family(family)
    keras.backend.clear_session()
    with _silent():
        model = keras_checkpoints.build(keras, model_name)
        keras_checkpoints.randomize(model)
        files = {
            "legacy-h5": folder / f"{family}_{model_name}.h5",
            "keras-zip": folder / f"{family}_{model_name}.keras",
        }
        for file in files.values():
            model.save(file)
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    return Written(files, inputs, np.asarray(model(inputs, training=False)))


def written_with_lambda(file: Path, family: str, proof: Path, nested: bool) -> bool:
    """Saves a model whose Lambda makes the file ``proof``; returns whether loading without care runs it."""
    keras = keras_checkpoints._family(family)
    name = str(proof)
    image = keras.Input((8, 8, 3))
    trap = keras.layers.Lambda(_leaving(name), output_shape=(8, 8, 3), name="trap")
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(trap(image)))
    if nested:
        outer = keras.Input((8, 8, 3))
        model = keras.Model(outer, model(outer))
    with _silent():
        model.save(file)
        proof.unlink(missing_ok=True)
        keras.models.load_model(file, compile=False, safe_mode=False)(np.zeros((1, 8, 8, 3), "float32"))
    ran = proof.exists()
    proof.unlink(missing_ok=True)
    return ran


def written_with_custom_layer(file: Path) -> None:
    """Saves a model with a layer of the user's own."""
    import keras

    @keras.saving.register_keras_serializable("mine")
    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    image = keras.Input((8, 8, 3))
    with _silent():
        keras.Model(image, keras.layers.Conv2D(2, 1)(Twice(name="doubling")(image))).save(file)
    keras.saving.get_custom_objects().clear()


def written_with_tensorflow_functions(file: Path) -> Written:
    """Saves a model whose additions are TensorFlow's, which tf_keras writes as TFOpLambda."""
    import tensorflow as tf
    import tf_keras

    image = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(image, tf.nn.relu(tf_keras.layers.Conv2D(3, 1)(image) + image))
    keras_checkpoints.randomize(model)
    with _silent():
        model.save(file)
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    return Written({"legacy-h5": file}, inputs, np.asarray(model(inputs, training=False)))


def _leaving(name: str) -> Any:
    return eval(f"lambda x: (open({name!r}, 'w').close(), x)[1]")  # the name is a constant of the saved code


@contextlib.contextmanager
def _silent() -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        yield
