"""Small models, saved by the real Keras 3 and the real tf_keras in every container they write.

These functions run on Keras's side, so call them through the `keras_side` fixture:

    saved = keras_side(save_everywhere, folder, "tf_keras", "nested")
    saved.files["keras-zip"], saved.weights["resnet50/conv1/kernel"]
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = ("keras", "tf_keras")
MODELS = ("flat", "nested", "nested_twice", "sequential", "partial")
BYTES_PER_GB = 1024**3  # Keras's unit of max_shard_size


@dataclass(frozen=True)
class Saved:
    """Attributes:
    files: Path by container, in the words of `weight_transfer.checkpoint.Checkpoint.container`.
    weights: Keras's own values by layer path and role.
    """

    files: dict[str, Path]
    weights: dict[str, np.ndarray]


def save_everywhere(folder: Path, family: str, model_name: str) -> Saved:
    """Builds a model, gives it random weights, saves it in every container of its family."""
    keras = _family(family)
    keras.backend.clear_session()
    model = build(keras, model_name)
    randomize(model)
    stem = str(folder / f"{family}_{model_name}")
    files = {
        "legacy-h5": f"{stem}.h5",
        "legacy-h5-weights": f"{stem}_legacy_weights.h5",
        "keras3-weights-h5": f"{stem}.weights.h5",
        "keras-zip": f"{stem}.keras",
    }
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "this file format is considered legacy"
        model.save(files["legacy-h5"])
        model.save(files["keras-zip"])
        model.save_weights(files["keras3-weights-h5"])
        if family == "tf_keras":
            model.save_weights(files["legacy-h5-weights"])
        else:
            save_legacy_weights(model, files["legacy-h5-weights"])
            files["keras3-sharded"] = f"{stem}_sharded.weights.json"
            model.save_weights(files["keras3-sharded"], max_shard_size=600 / BYTES_PER_GB)
    return Saved({container: Path(path) for container, path in files.items()}, weights_of(model))


def save_legacy_weights(model: Any, path: str) -> None:
    """Writes the weights-only layout that Keras 3 still reads, and writes only by its inner function."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def build(keras: Any, model_name: str) -> Any:
    """Builds one of `MODELS`."""
    return {
        "flat": _flat,
        "nested": _nested,
        "nested_twice": _nested_twice,
        "sequential": _sequential,
        "partial": _partial,
    }[model_name](keras)


def randomize(model: Any, seed: int = 0) -> None:
    """Gives every array other numbers than any other, variances above 0."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1.0, array.shape).astype(array.dtype) for array in model.get_weights()])


def weights_of(model: Any, path: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Returns Keras's own values by ``layer/role``, the names of nested models before them."""
    found = {}
    for layer in model.layers:
        here = (*path, layer.name)
        if hasattr(layer, "layers"):
            found |= weights_of(layer, here)
            continue
        for variable in layer.weights:
            role = variable.name.split("/")[-1].split(":")[0]
            found["/".join((*here, role))] = np.array(variable)
    return found


def _family(family: str) -> Any:
    if family == "keras":
        import keras

        return keras
    import tf_keras

    return tf_keras


def _backbone(keras: Any, name: str = "resnet50") -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(image)
    x = layers.BatchNormalization(name="bn_conv1")(x)
    x = layers.ReLU()(x)
    shortcut = layers.Conv2D(6, 1, name="res2a_branch1")(x)
    shortcut = layers.BatchNormalization(name="bn2a_branch1")(shortcut)
    y = layers.Conv2D(6, 1, name="res2a_branch2a")(x)
    y = layers.BatchNormalization(name="bn2a_branch2a")(y)
    return keras.Model(image, layers.Activation("relu")(layers.Add()([y, shortcut])), name=name)


def _head(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(0.5, name="dropout_01", seed=1)(x)
    x = layers.Dense(5, activation="relu", name="fc_01")(x)
    return layers.Dense(2, activation="softmax", name="fc_final")(x)


def _flat(keras: Any) -> Any:
    """As the tutorial names its layers; compiled, and trained for one step."""
    backbone = _backbone(keras)
    model = keras.Model(backbone.input, _head(keras, backbone.output))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    model.train_on_batch(np.ones((2, 8, 8, 3), "float32"), np.eye(2, dtype="float32"))
    return model


def _nested(keras: Any) -> Any:
    """Transfer learning: the first layers frozen, which changes the order of a legacy file's weights."""
    backbone = _backbone(keras)
    for layer in backbone.layers[:4]:
        layer.trainable = False
    image = keras.layers.Input((8, 8, 3))
    return keras.Model(image, _head(keras, backbone(image)), name="outer")


def _nested_twice(keras: Any) -> Any:
    image = keras.layers.Input((8, 8, 3))
    middle = keras.Model(image, _backbone(keras)(image), name="encoder")
    image = keras.layers.Input((8, 8, 3))
    return keras.Model(image, _head(keras, middle(image)), name="outer")


def _sequential(keras: Any) -> Any:
    layers = keras.layers
    model = keras.Sequential([_backbone(keras), layers.GlobalAveragePooling2D(), layers.Dense(2, name="fc")])
    model.build((None, 8, 8, 3))
    return model


def _partial(keras: Any) -> Any:
    """Layers without some of their arrays, among names that Keras chose."""
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.BatchNormalization(scale=False, center=False)(x)
    x = layers.Conv2D(3, 1)(x)
    return keras.Model(image, layers.Dense(2, use_bias=False)(layers.GlobalAveragePooling2D()(x)))
