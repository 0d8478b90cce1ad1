"""`evaluate`: loss and confusion of a checkpoint on a part of the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from resnet_keras.training.batches import Feed
from resnet_keras.training.cifar10 import download_cifar10
from resnet_keras.training.compilation import loss_of
from resnet_keras.training.network import build, check_outputs, floats
from weight_transfer.data import Part
from weight_transfer.progress import OnProgress
from weight_transfer.training.datasets import evaluation_images
from weight_transfer.training.evaluation import Evaluation
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.starting_point import to_evaluate


def evaluate(
    recipe: Recipe,
    checkpoint: Path,
    *,
    part: Part | None = None,
    on_progress: OnProgress = lambda share: None,
    workers: int = 1,
) -> Evaluation:
    """Evaluates a checkpoint.

    Args:
        recipe: Says which data, and how images become inputs.
        checkpoint: A Keras checkpoint or a converted file.
        part: Of the data, or None for the images that training did not see, as far as that is known.
        on_progress: Called with the share that is done; not for a stream, which does not know.
        workers: Threads that read and prepare images.

    Returns:
        The loss that `fit` calls ``val_loss``, regularisation included, and what was taken for what.

    Raises:
        TransferError: The checkpoint or the data is not as it should be, or one has other classes than the other.
    """
    with floats(recipe.dtype):
        start = to_evaluate(recipe, checkpoint)
        model = build(start, dataclasses.replace(recipe, size=None, dropout=None))
        images = evaluation_images(recipe, part, start.size, start.description, download_cifar10)
        batches = images.batches
        classes = len(batches.class_names)
        check_outputs(model, classes, str(checkpoint))
        feed = Feed(batches, classes, recipe.dtype, workers)
        confusion = Confusion(classes)
        model.compile(loss=loss_of(model, recipe), metrics=[confusion])
        try:
            found = model.evaluate(feed.data, verbose=0, return_dict=True, callbacks=[_Progress(on_progress)])
        except Exception as error:
            raise feed.error or error from error
        counts = np.asarray(keras.ops.convert_to_numpy(confusion.counts))
        confused = counts.round().astype(np.int64)
        return Evaluation(float(found["loss"]), confused, batches.class_names, images.words, start.description)


class _Progress(keras.callbacks.Callback):
    """Tells how much of an evaluation is done."""

    def __init__(self, on_progress: OnProgress) -> None:
        super().__init__()
        self._on_progress = on_progress

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if steps := self.params.get("steps"):
            self._on_progress((batch + 1) / steps)


class Confusion(keras.metrics.Metric):
    """How many images of a class (row) were taken for a class (column).

    Args:
        classes: How many there are.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(name="confusion")
        self.counts = self.add_variable((classes, classes), "zeros", name="counts")
        self.classes = classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts a batch: one-hot targets and probabilities, both (N, classes)."""
        guessed = keras.ops.one_hot(keras.ops.argmax(y_pred, axis=-1), self.classes, dtype=self.dtype)
        target = keras.ops.cast(y_true, self.dtype)
        self.counts.assign_add(keras.ops.matmul(keras.ops.transpose(target), guessed))

    def result(self) -> Any:
        """Returns the share of images that were known, for a progress bar."""
        return keras.ops.trace(self.counts) / keras.ops.sum(self.counts)
