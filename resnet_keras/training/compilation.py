"""Loss, metrics and optimizer of a recipe; the optimizer's state where a checkpoint has one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from resnet_keras.allowlist import is_keras_training
from resnet_keras.optimizers import build_optimizer
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.training.recipe import Recipe


def compile_model(model: keras.Model, recipe: Recipe, learning_rate: float) -> None:
    """Compiles a model of one number per class."""
    optimizer = build_optimizer(keras, recipe.optimizer_spec(learning_rate))
    model.compile(optimizer, loss_of(model, recipe), metrics=["accuracy"])


def loss_of(model: keras.Model, recipe: Recipe) -> keras.losses.Loss:
    """The recipe's loss, of probabilities; of logits where the model does not end in a softmax."""
    last = model.layers[-1]
    softmax = isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
    return keras.losses.CategoricalCrossentropy(from_logits=not softmax, label_smoothing=recipe.label_smoothing)


def take_optimizer_state(model: keras.Model, path: Path) -> bool:
    """Gives a compiled model the optimizer's state of a Keras 3 file of the same model; the learning rate stays.

    Args:
        model: Compiled, as the file's own model.
        path: A full-model file.

    Returns:
        Whether the file has such a state, of the same optimizer.
    """
    kept = _optimizer_of(path)
    model.optimizer.build(model.trainable_variables)
    own = [variable for variable in model.optimizer.variables if variable.name != "learning_rate"]
    theirs = [variable for variable in getattr(kept, "variables", []) if variable.name != "learning_rate"]
    same = [(variable.name, tuple(variable.shape)) for variable in own] == [
        (variable.name, tuple(variable.shape)) for variable in theirs
    ]
    if kept is None or type(kept) is not type(model.optimizer) or not same:
        return False
    for variable, other in zip(own, theirs, strict=True):
        variable.assign(np.asarray(other))
    return True


def _optimizer_of(path: Path) -> Any:
    """The optimizer that Keras builds from a file; None where there is none, or one that this Keras does not know."""
    with read_checkpoint(path) as checkpoint:
        if not is_keras_training(checkpoint.training):  # an older Keras runs what a config names
            return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an older Keras's arguments
            return keras.models.load_model(path, compile=True, safe_mode=True).optimizer
    except Exception:  # a loss or a metric of its owner's own
        return None
