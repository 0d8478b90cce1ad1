"""The Keras side of ``python -m resnet_keras``: `train` and `evaluate`, by Keras's own `fit` and callbacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from resnet_keras.training.quiet import quiet_start
from weight_transfer.training.evaluation import Evaluation
from weight_transfer.training.history import History
from weight_transfer.training.recipe import Recipe

__all__ = ["evaluate", "train"]

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def train(recipe: Recipe, **options: Any) -> History:
    """Imports Keras and trains: `resnet_keras.training.fit.train`."""
    _start()
    from resnet_keras.training.fit import train as fit

    return fit(recipe, **options)


def evaluate(recipe: Recipe, checkpoint: Path, **options: Any) -> Evaluation:
    """Imports Keras and evaluates: `resnet_keras.training.evaluation.evaluate`."""
    _start()
    from resnet_keras.training.evaluation import evaluate as measure

    return measure(recipe, checkpoint, **options)


def _start() -> None:
    with quiet_start():
        import tensorflow as tf

        tf.config.list_logical_devices()
