"""`train`: the recipe by Keras's `fit`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from resnet_keras.training.batches import Feed
from resnet_keras.training.callbacks import PACKAGE, Callbacks
from resnet_keras.training.checkpoints import load_checkpoint
from resnet_keras.training.cifar10 import download_cifar10
from resnet_keras.training.compilation import compile_model, take_optimizer_state
from resnet_keras.training.network import built, check_outputs, floats, own_model, set_trainable, summary_of
from weight_transfer.atomic import write_text
from weight_transfer.conversion.description import with_input
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.errors import TransferError
from weight_transfer.resnet.layout import network_from_dict
from weight_transfer.training.curves import draw_run
from weight_transfer.training.datasets import training_images
from weight_transfer.training.history import History, write_history
from weight_transfer.training.recipe import Phase, Recipe
from weight_transfer.training.reporter import SILENT, Reporter
from weight_transfer.training.run_folder import RunFolder
from weight_transfer.training.starting_point import starting_point, words_on_frozen


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    reporter: Reporter = SILENT,
    workers: int = 1,
    deterministic: bool = False,
) -> History:
    """Trains, and leaves history, curves, checkpoints and logs in the run folder.

    Args:
        recipe: What to do; its run folder exists.
        resume: Whether to go on from the run folder's last checkpoint.
        reporter: Is told how it goes.
        workers: Threads that read and prepare images.
        deterministic: TensorFlow's deterministic kernels, for the rest of the process.

    Returns:
        The whole history, of the epochs before a resumption too.

    Raises:
        TransferError: The data, the checkpoint or the run folder is not as it should be, or the loss is no number.
    """
    keras.utils.set_random_seed(recipe.seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    with floats(recipe.dtype):
        return _Run(recipe, RunFolder(Path(recipe.output)), resume, reporter, workers).run()


def _known(state: Mapping[str, Any], recipe: Recipe) -> Description:
    """What a run knows of its network; one of version 0.1 kept the network alone."""
    if "description" in state:
        return Description.from_dict(state["description"])
    frozen = tuple(state.get("frozen", ()))
    known = Description(network_from_dict(state["network"]), MADE_HERE, frozen=frozen)
    return with_input(known, recipe.output, recipe.preprocessing, recipe.image_loading, recipe.crop)


class _Run:
    """One training."""

    def __init__(self, recipe: Recipe, folder: RunFolder, resume: bool, reporter: Reporter, workers: int) -> None:
        self.recipe, self.folder, self.reporter = recipe, folder, reporter
        images = training_images(recipe, download_cifar10)
        classes = len(images.class_names)
        self.state: dict[str, Any] = {}
        self.best_weights: list[Any] | None = None
        self.file: Path | None = None  # whose optimizer goes on
        if resume and folder.last(PACKAGE).exists():
            self.model, self.state, self.best_weights = load_checkpoint(folder.last(PACKAGE))
            self.known = _known(self.state, recipe)
            self.reporter.input(self.known)
        else:
            start = starting_point(recipe, classes)
            self.reporter.input(start.description)
            start = start.with_known_input()
            own = own_model(start, recipe)
            self.model, self.known = (built(start) if own is None else own), start.description
            self.file = None if recipe.checkpoint is None or own is None else start.source
            check_outputs(self.model, classes, str(start.source))
            write_text(folder.summary, summary_of(self.model))
        train, validation = images.batches(self.model.input_shape[1:3], self.known)
        self.feed = Feed(train, classes, recipe.dtype, workers)
        self.validation = Feed(validation, classes, recipe.dtype, workers)
        self.history = folder.read_history().upto(self.done)
        if self.known.frozen:
            self.reporter.note(words_on_frozen(self.known.frozen))

    @property
    def done(self) -> int:
        """How many epochs are behind."""
        return int(self.state.get("epoch", 0))

    def run(self) -> History:
        """Trains, phase for phase."""
        if self.state:
            write_history(self.folder.history, self.history)
        if self.state.get("stopped"):
            self.reporter.note(f"stopped early after epoch {self.done}: there is nothing to go on with")
        for phase in self.recipe.phases:
            if self.done < phase.last and not self.state.get("stopped"):
                self._train(phase)
        draw_run(self.history, self.folder, PACKAGE, self.reporter.note)
        return self.history

    def _train(self, phase: Phase) -> None:
        """Trains one phase, or the rest of it."""
        goes_on = self.done >= phase.first
        if not goes_on:
            set_trainable(self.model, self.known.network, phase.frozen, self.known.frozen)
            compile_model(self.model, self.recipe, phase.learning_rate)
            self._take_optimizer_state()

        callbacks = Callbacks(self.recipe, self.folder, self.known, self.history, self.feed, self.reporter)
        every = callbacks.all()
        if self.state:
            every.append(callbacks.restore(self.state, self.best_weights, goes_on))
        write_history(self.folder.history, self.history)
        self._fit(every, phase)
        self.history = callbacks.history
        self.state = callbacks.state(len(self.history))

    def _take_optimizer_state(self) -> None:
        if self.file is None:
            return
        took = take_optimizer_state(self.model, self.file)
        self.file = None
        anew = f"the optimizer begins anew, {self.recipe.optimizer_words}: the file has no state of it"
        self.reporter.note("the optimizer goes on" if took else anew)

    def _fit(self, callbacks: list[Any], phase: Phase) -> None:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Your input ran out of data")  # how a stream's epoch ends
                self.model.fit(
                    self.feed.data,
                    initial_epoch=self.done,
                    epochs=phase.last,
                    validation_data=self.validation.data,
                    shuffle=False,
                    verbose=0,
                    callbacks=callbacks,
                )
        except Exception as error:
            found = self.feed.error or self.validation.error
            if found is not None:
                raise found from error
            if isinstance(error, OSError):
                raise TransferError(
                    f"{self.folder.path}: {error.strerror or error}. The last checkpoint is as it was."
                ) from error
            raise
