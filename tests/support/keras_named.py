"""Small networks whose layers have the names that a test asks for, and what Keras predicts with them."""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np


def named(library: str, folder: Path, suffix: str, pairs: Sequence[tuple[str, str]]) -> list[tuple]:
    """Saves a network of two convolutions, an Add and a Dense for every pair of names.

    Returns:
        File, images and predictions of each, channels last.
    """
    keras = importlib.import_module(library)
    layers = keras.layers
    rng = np.random.default_rng(0)
    found = []
    for number, (one, two) in enumerate(pairs):
        image = keras.Input((6, 6, 3))
        x = layers.Conv2D(3, 3, padding="same", activation="relu", name=one)(image)
        y = layers.Conv2D(3, 3, padding="same", activation="tanh", name=two)(x)
        y = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
        model = keras.Model(image, layers.Dense(2, activation="softmax", name="top")(y))
        model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
        images = rng.normal(size=(4, 6, 6, 3)).astype("float32")
        path = folder / f"{library}{number}{suffix}"
        model.save(path)
        found.append((path, images, model.predict(images, verbose=0)))
    return found


def renamed(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[tuple]:
    """`named` in Keras 3's format, for names that TensorFlow refuses and a file can have all the same."""
    found = named("keras", folder, ".keras", [("one", "two")] * len(pairs))
    for (path, _, _), pair in zip(found, pairs, strict=True):
        names = dict(zip(("one", "two"), pair, strict=True))
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        config = members["config.json"].decode()
        for old, new in names.items():
            config = config.replace(json.dumps(old), json.dumps(new))
        members["config.json"] = config.encode()
        weights = io.BytesIO(members["model.weights.h5"])
        with h5py.File(weights, "r+") as file:
            places: list[str] = []
            file.visit(places.append)
            for attributes in (file[place].attrs for place in places):
                if attributes.get("name") in names:
                    attributes["name"] = names[attributes["name"]]
        members["model.weights.h5"] = weights.getvalue()
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    return found
