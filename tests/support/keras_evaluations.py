"""Owners who train small networks in Keras, and measure them by Keras's own ``evaluate``: called by ``keras_side``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIZE, DOUBLE = (16, 16), (32, 32)
CLASSES = ("dark", "middle", "stripes")


def write_images(root: Path, count: int, seed: int, size: tuple[int, int], columns: tuple[int, int]) -> Path:
    """A folder for each class, of PNG files: two shades that a wrong scale moves, and stripes.

    At twice the network's size the nearest pixel of a stripe is that of an odd column, the bilinear one the mean.
    """
    from PIL import Image

    random = np.random.default_rng(seed)
    shades = {"dark": (60, 60), "middle": (120, 120), "stripes": columns}
    for name, (even, odd) in shades.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            row = np.where(np.arange(size[1]) % 2 == 0, even, odd) + random.integers(-6, 7)
            tint = row[:, np.newaxis] * (1 + random.uniform(-0.05, 0.05, 3))
            image = np.broadcast_to(tint, (*size, 3)) + random.normal(0, 3, (*size, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / name / f"{number:03}.png")
    return root


def train_owners(folder: Path) -> dict[str, dict[str, Any]]:
    """Trains small networks, saves them, and says how well each does on its owner's pixels and on other pixels.

    Returns:
        By kind of owner: the ``.keras`` file, the folder of images, the accuracy, and that on pixels which are not
        the owner's.
    """
    import keras
    from keras.applications.imagenet_utils import preprocess_input

    keras.utils.set_random_seed(1)
    same, bilinear, nearest = (folder / name for name in ("same", "bilinear", "nearest"))
    for root, size, columns in ((same, SIZE, (125, 55)), (bilinear, DOUBLE, (125, 55)), (nearest, DOUBLE, (150, 90))):
        write_images(root / "train", 30, 1, size, columns)
        write_images(root / "test", 24, 2, size, columns)
    found = {}
    train, labels = loaded(same / "train")
    test, test_labels = loaded(same / "test")
    tf, caffe = (preprocess_input(test.copy(), mode=mode) for mode in ("tf", "caffe"))
    model = _trained(_resnet(), preprocess_input(train.copy(), mode="tf"), labels)
    found["tf"] = _measured(model, folder / "tf.keras", same, test_labels, tf, caffe)
    model = _trained(_rescaling(), train, labels)
    found["inside"] = _measured(model, folder / "inside.keras", same, test_labels, test, test / 255)
    ways = {"dataset": (bilinear, _by_dataset, _by_load_img), "load_img": (nearest, _by_load_img, _by_dataset)}
    for name, (root, own, other) in ways.items():
        model = _trained(_resnet(), own(root / "train") / np.float32(255), labels)
        x, otherwise = (load(root / "test") / np.float32(255) for load in (own, other))
        found[name] = _measured(model, folder / f"{name}.keras", root, test_labels, x, otherwise)
    return found


def _by_load_img(root: Path) -> np.ndarray:
    return loaded(root, size=SIZE)[0]


def _by_dataset(root: Path) -> np.ndarray:
    import keras

    images = keras.utils.image_dataset_from_directory(root, image_size=SIZE, shuffle=False, verbose=False)
    return np.concatenate([x.numpy() for x, _ in images])


def loaded(
    root: Path, files: Sequence[str] | None = None, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A folder's images by `keras.utils.load_img`, and their labels."""
    import keras

    named = [str(file.relative_to(root)) for file in sorted(root.rglob("*.png"))] if files is None else files
    images = [keras.utils.img_to_array(keras.utils.load_img(root / name, target_size=size)) for name in named]
    return np.stack(images), np.array([CLASSES.index(Path(name).parts[0]) for name in named])


def _resnet() -> Any:
    from keras_training import TINY

    from resnet_keras import create_resnet
    from weight_transfer.architecture import Head

    return create_resnet((*SIZE, 3), head=Head(hidden_units=10, classes=3, dropout=0.0), momentum=0.8, **TINY)


def _rescaling() -> Any:
    import keras

    x = image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(8, 3, padding="same")(y)
    x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))


def _trained(model: Any, x: np.ndarray, labels: np.ndarray) -> Any:
    import keras

    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, labels, epochs=40, batch_size=30, verbose=0)
    return model


def _measured(
    model: Any, path: Path, images: Path, labels: np.ndarray, x: np.ndarray, otherwise: np.ndarray
) -> dict[str, Any]:
    model.save(path)
    accuracies = [model.evaluate(pixels, labels, verbose=0, return_dict=True)["accuracy"] for pixels in (x, otherwise)]
    return {"file": str(path), "images": str(images), "accuracy": accuracies[0], "otherwise": accuracies[1]}


def evaluate(recipe: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Evaluates as ``python -m resnet_keras evaluate`` does."""
    from resnet_keras.training.evaluation import evaluate as measure
    from weight_transfer.training import Recipe

    return measure(Recipe.from_dict(recipe), Path(checkpoint)).to_dict()


def accuracy_on(checkpoint: Path, root: Path, split: Path) -> float:
    """Keras's own accuracy of a caffe network on the files that a run kept apart."""
    import keras
    from keras.applications.imagenet_utils import preprocess_input

    images, labels = loaded(root, json.loads(split.read_text())["validation"])
    model = keras.saving.load_model(checkpoint)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return float(
        model.evaluate(preprocess_input(images, mode="caffe"), labels, verbose=0, return_dict=True)["accuracy"]
    )


def as_json(recipe: Any) -> dict[str, Any]:
    """A recipe as it crosses to the other process."""
    return dataclasses.asdict(recipe)
