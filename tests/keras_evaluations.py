"""Owners who train small networks in Keras, and measure them by Keras's own ``evaluate``: called by ``keras_side``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIZE = (16, 16)
CLASSES = ("dark", "middle", "stripes")


def write_images(root: Path, count: int, seed: int, size: tuple[int, int] = SIZE) -> Path:
    """A folder for each class, of PNG files: two shades that a wrong scale moves, and stripes that resizing blurs."""
    from PIL import Image

    random = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(count):
            shade = np.array([60, 120, 90][label]) + random.integers(-12, 12)
            tint = shade * (1 + random.uniform(-0.1, 0.1, 3))
            image = np.broadcast_to(tint, (*size, 3)) + random.normal(0, 6, (*size, 3))
            if label == 2:
                image = image + 50 * ((np.arange(size[1]) % 3 == 0)[np.newaxis, :, np.newaxis] - 0.33)
            pixels = image.clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:03}.png")
    return root


def train_owners(folder: Path) -> dict[str, dict[str, Any]]:
    """Trains three networks, saves them, and says how well each does on its owner's pixels and on other pixels.

    Returns:
        By kind of owner: the ``.keras`` file, the folder of images, the accuracy, and that on pixels which are not
        the owner's.
    """
    import keras
    from keras.applications.imagenet_utils import preprocess_input

    keras.utils.set_random_seed(1)
    same, large = folder / "same", folder / "large"
    for root, size in ((same, SIZE), (large, (37, 29))):
        write_images(root / "train", 30, 1, size)
        write_images(root / "test", 24, 2, size)
    found = {}
    images, labels = loaded(same / "train")
    test_images, test_labels = loaded(same / "test")
    tf = _trained(_resnet(), preprocess_input(images.copy(), mode="tf"), labels)
    found["tf"] = _measured(
        tf,
        folder / "tf.keras",
        same,
        test_labels,
        preprocess_input(test_images.copy(), mode="tf"),
        preprocess_input(test_images.copy(), mode="caffe"),
    )
    inside = _trained(_rescaling(), images, labels)
    found["inside"] = _measured(inside, folder / "inside.keras", same, test_labels, test_images, test_images / 255)

    def dataset(part: str, interpolation: str = "bilinear") -> Any:
        return keras.utils.image_dataset_from_directory(
            large / part, image_size=SIZE, interpolation=interpolation, shuffle=False, verbose=False
        )

    loader = _resnet()
    arrays = [np.concatenate(both) for both in zip(*((x.numpy(), y.numpy()) for x, y in dataset("train")), strict=True)]
    _trained(loader, arrays[0] / np.float32(255), arrays[1])
    pixels, other = (
        np.concatenate([x.numpy() for x, _ in dataset("test", way)]) / np.float32(255)
        for way in ("bilinear", "nearest")
    )
    found["loader"] = _measured(loader, folder / "loader.keras", large, test_labels, pixels, other)
    return found


def loaded(root: Path, files: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A folder's images by `keras.utils.load_img`, and their labels."""
    import keras

    named = [str(file.relative_to(root)) for file in sorted(root.rglob("*.png"))] if files is None else files
    images = [keras.utils.img_to_array(keras.utils.load_img(root / name)) for name in named]
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
    from resnet_keras.training.evaluating import evaluate as measure
    from weight_transfer.training import Recipe

    return measure(Recipe.from_dict(recipe), Path(checkpoint), quiet=True).to_dict()


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
