"""Two models of the same arrays, of which one has what acts in training alone."""

from __future__ import annotations

from pathlib import Path


def written(folder: Path) -> tuple[Path, Path]:
    """The model with dropout, noise and a penalty, and the one without; both predict the same."""
    import keras

    layers = keras.layers
    paths: list[Path] = []
    first = None
    for name, rate, deviation, penalty in (("with", 0.5, 1.0, "l2"), ("without", 0.0, 0.0, None)):
        image = keras.Input((16, 16, 3), name="image")
        x = layers.Conv2D(6, 3, padding="same", kernel_regularizer=penalty, name="c1")(image)
        x = layers.GaussianNoise(deviation, name="noise")(x) if deviation else x
        y = layers.Conv2D(6, 3, padding="same", name="c2")(layers.ReLU(name="relu")(x))
        x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
        x = layers.Dropout(rate, name="drop")(x) if rate else x
        model = keras.Model(image, layers.Dense(3, activation="softmax", name="out")(x), name="m")
        first = first or model
        for layer in ("c1", "c2", "out"):
            model.get_layer(layer).set_weights(first.get_layer(layer).get_weights())
        paths.append(folder / f"{name}.keras")
        model.save(paths[-1])
    return paths[0], paths[1]
