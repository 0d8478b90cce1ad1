"""A real ``fit`` with callbacks: a function to call through ``keras_side``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_regularizers
import numpy as np
from keras_floatx import floatx


def fit(folder: Path) -> dict[str, Any]:
    """Saves a regularized float64 model and its data, and trains it.

    Writes ``model.keras`` and ``data.npz`` (channels first); returns the history and the final weights by path.
    """
    import keras

    with floatx(keras, "float64"):
        model = keras_regularizers.made("keras", "graph")
        model.compile(keras.optimizers.Adam(0.03), "categorical_crossentropy")
        model.save(folder / "model.keras")
        random = np.random.default_rng(4)
        parts = {"train": 21, "validation": 10}
        x = {part: random.normal(size=(n, 8, 8, 3)) for part, n in parts.items()}
        y = {part: np.eye(3)[random.integers(0, 3, n)] for part, n in parts.items()}
        moved = {f"{part}_x": np.moveaxis(values, -1, 1) for part, values in x.items()}
        np.savez(folder / "data.npz", **moved, **{f"{part}_y": values for part, values in y.items()})
        history = model.fit(
            x["train"],
            y["train"],
            batch_size=8,
            epochs=12,
            shuffle=False,
            verbose=0,
            validation_data=(x["validation"], y["validation"]),
            callbacks=[
                keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=1, min_delta=0.01),
                keras.callbacks.EarlyStopping(min_delta=0.01, patience=3, restore_best_weights=True),
            ],
        ).history
        return {"history": history, "weights": {weight.path: np.asarray(weight) for weight in model.weights}}
