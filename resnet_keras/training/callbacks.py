"""What a run does beside learning: Keras's callbacks as the recipe sets them, and the run folder's files."""

from __future__ import annotations

import importlib.util
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from resnet_keras.training.batches import Feed
from resnet_keras.training.checkpoints import save_checkpoint
from weight_transfer.description import Description
from weight_transfer.errors import TransferError
from weight_transfer.training.history import History, is_number, row_of, write_history
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.reporter import Reporter, Step
from weight_transfer.training.run_folder import RunFolder
from weight_transfer.training.step_log import StepLog

PACKAGE = "resnet_keras"
# What decides, beside the optimizer: attributes of each callback that a resumed run needs.
DECIDED_BY = {
    "reduce_lr": ("best", "wait", "cooldown_counter"),
    "early_stopping": ("best", "wait", "best_epoch", "stopped_epoch"),
    "best_checkpoint": ("best",),
}


class Callbacks:
    """The callbacks of one call of `fit`.

    Args:
        recipe: Says which.
        folder: Where the files go.
        known: The network, and all that is known of it.
        history: Of the epochs before.
        feed: Whose epoch moves on.
        reporter: Is told of each step and epoch.

    Attributes:
        history: Of all epochs so far.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        known: Description,
        history: History,
        feed: Feed,
        reporter: Reporter,
    ) -> None:
        self.recipe, self.folder, self.known, self.history = recipe, folder, known, history
        self._feed = feed
        self._writing = folder.path / ".best.keras"
        self.named: dict[str, Any] = {}
        if recipe.reduce_lr is not None:
            self.named["reduce_lr"] = keras.callbacks.ReduceLROnPlateau(**recipe.reduce_lr)
        if recipe.early_stopping is not None:
            self.named["early_stopping"] = keras.callbacks.EarlyStopping(**recipe.early_stopping)
        target = str(self._writing).replace("{", "{{").replace("}", "}}")  # Keras fills in what stands in braces
        best = _BestOfNumbers(target, monitor=recipe.monitor, save_best_only=True)
        self.named["best_checkpoint"] = best
        self._before = [_Guard(self), _Steps(feed, reporter, recipe.epochs), _Log(self, reporter)]

    def all(self) -> list[Any]:
        """Returns them in order: the log notes the rate before it is lowered, the last checkpoint has it all."""
        steps = (
            []
            if self.recipe.log_steps is None
            else [_StepLogging(Path(self.recipe.log_steps), self._feed, len(self.history))]
        )
        return [*self._before, *steps, *self.named.values(), *_tensorboard(self.folder.tensorboard), _Save(self)]

    def state(self, epoch: int) -> dict[str, Any]:
        """Returns what a resumed run needs to know after an epoch, counted from 1."""
        values = {
            name: {key: getattr(self.named[name], key) for key in keys}
            for name, keys in DECIDED_BY.items()
            if name in self.named
        }
        early = self.named.get("early_stopping")
        return {
            "epoch": epoch,
            "stopped": early is not None and early.stopped_epoch > 0,
            "callbacks": values,
            "description": self.known.to_dict(),
        }

    @property
    def best_weights(self) -> list[Any] | None:
        """Of the best epoch, where the end of training is to restore them."""
        early = self.named.get("early_stopping")
        return None if early is None else early.best_weights

    def restore(self, state: dict[str, Any], best_weights: list[Any] | None, same_phase: bool) -> Any:
        """Returns a callback that puts a state back once `fit` has reset the others.

        Args:
            state: What `state` gave.
            best_weights: Of the best epoch, where the end of training is to restore them.
            same_phase: Whether more than the best checkpoint's value goes on.
        """
        values = state["callbacks"]

        def put_back() -> None:
            for name, kept in values.items():
                if name in self.named and (same_phase or name == "best_checkpoint"):
                    for key, value in kept.items():
                        setattr(self.named[name], key, value)
            if same_phase and best_weights is not None:
                self.named["early_stopping"].best_weights = best_weights

        return keras.callbacks.LambdaCallback(on_train_begin=lambda logs: put_back())

    def save_best(self) -> None:
        """Gives the best checkpoint its name, if this epoch made one."""
        if self._writing.exists():
            self._writing.replace(self.folder.best(PACKAGE))


class _BestOfNumbers(keras.callbacks.ModelCheckpoint):
    """Keras's, but that an epoch whose value is no number is never the best: after it nothing would be better."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if is_number((logs or {}).get(self.monitor)):
            super().on_epoch_end(epoch, logs)


class _Guard(keras.callbacks.Callback):
    """Ends the training at a loss that is no number, before a weight is saved that it spoiled."""

    def __init__(self, callbacks: Callbacks) -> None:
        super().__init__()
        self._callbacks = callbacks
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise self._error(f"the loss became {loss} at step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        spoiled = [weight.path for weight in self.model.weights if not np.isfinite(weight.numpy()).all()]
        if spoiled:
            raise self._error(f"after epoch {epoch + 1} {len(spoiled)} weights are no numbers, {spoiled[0]} first")

    def _error(self, what: str) -> TransferError:
        return TransferError(self._callbacks.folder.advised(what, PACKAGE))


class _Steps(keras.callbacks.Callback):
    """Moves the feed to the epoch, and the bar to the step."""

    def __init__(self, feed: Feed, reporter: Reporter, epochs: int) -> None:
        super().__init__()
        self._feed, self._reporter, self._epochs = feed, reporter, epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._feed.begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._reporter.follows_steps:
            found = logs or {}
            numbers = found.get("loss"), found.get("accuracy")
            self._reporter.step(Step(self._feed.epoch + 1, self._epochs, batch + 1, self.params.get("steps"), *numbers))


class _Log(keras.callbacks.Callback):
    """Writes the history."""

    def __init__(self, callbacks: Callbacks, reporter: Reporter) -> None:
        super().__init__()
        self._callbacks, self._reporter = callbacks, reporter
        self._begun = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begun = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = row_of(epoch + 1, logs, learning_rate_of(self.model))
        self._callbacks.history = self._callbacks.history.added(row)
        write_history(self._callbacks.folder.history, self._callbacks.history)
        self._reporter.epoch(row, self._callbacks.recipe.epochs, time.monotonic() - self._begun)


class _StepLogging(keras.callbacks.Callback):
    """Writes every step's loss; Keras shows the mean of the epoch so far, from which it is worked out."""

    def __init__(self, path: Path, feed: Feed, epochs_before: int) -> None:
        super().__init__()
        self._log, self._feed = StepLog(path, epochs_before), feed
        self._sum, self._images, self._rate = 0.0, 0, 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._sum, self._images = 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._rate = learning_rate_of(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        size = self._feed.size(batch)
        self._images += size
        before, self._sum = self._sum, (logs or {})["loss"] * self._images
        self._log.add(self._feed.epoch + 1, (self._sum - before) / size, self._rate)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._log.flush()


class _Save(keras.callbacks.Callback):
    """Saves what a resumed run goes on from, when everything else of the epoch is done."""

    def __init__(self, callbacks: Callbacks) -> None:
        super().__init__()
        self._callbacks = callbacks

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._callbacks.save_best()
        last = self._callbacks.folder.last(PACKAGE)
        save_checkpoint(self.model, last, self._callbacks.state(epoch + 1), self._callbacks.best_weights)


def _tensorboard(folder: Path) -> list[Any]:
    """Keras's TensorBoard callback, where the package that it needs is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(str(folder), write_graph=False)]


def learning_rate_of(model: keras.Model) -> float:
    """The optimizer's learning rate; with a schedule that of the next step."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
