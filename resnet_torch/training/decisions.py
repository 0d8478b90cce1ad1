"""What Keras's ``fit`` does around the epochs: history, callbacks, phases, the best checkpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from resnet_torch.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.saving import save_converted
from resnet_torch.training.event_files import EventFiles
from resnet_torch.training.module import PACKAGE, TrainedNetwork, trained_network
from weight_transfer.training import EpochRow, History, Recipe, RunFolder, write_history
from weight_transfer.training.history import is_number, row_of
from weight_transfer.training.reporter import Reporter

REDUCE, STOP, BEST = "reduce_lr", "early_stopping", "best_checkpoint"


class Decisions(L.Callback):
    """Decides after each epoch what Keras's callbacks decide.

    Every process decides, on the same numbers, and comes to the same; the first one writes and reports.

    Args:
        recipe: Of the training.
        reporter: Is told of each epoch.

    Attributes:
        history: The epochs so far.
    """

    def __init__(self, recipe: Recipe, reporter: Reporter) -> None:
        self.recipe, self.reporter = recipe, reporter
        self.folder = RunFolder(Path(recipe.output))
        self.history = History()
        self.deciders: dict[str, Any] = {}
        self.restored: Mapping[str, Any] = {}
        self.events: EventFiles | None = None
        self.begun_s = 0.0

    # What a checkpoint holds of it

    def state_dict(self) -> dict[str, Any]:
        """Returns what the next decisions depend on."""
        rows = [dataclasses.asdict(row) for row in self.history.rows]
        return {"history": rows, "deciders": {name: one.state_dict() for name, one in self.deciders.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.history = History(tuple(EpochRow(**row) for row in state_dict["history"]))
        self.restored = state_dict["deciders"]

    # When it decides

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Makes the deciders, and makes what is written say what is known."""
        self._begin_phase(trainer, trained_network(pl_module))
        for name in self.deciders.keys() & self.restored.keys():
            self.deciders[name].load_state_dict(self.restored[name])
        if STOP in self.deciders and self.deciders[STOP].stop_training:
            trainer.should_stop = True
            self._note(trainer, f"stopped early after epoch {len(self.history)}: there is nothing to go on with")
        if trainer.is_global_zero:
            write_history(self.folder.history, self.history)
            self.events = EventFiles(self.folder.tensorboard, len(self.history))
        self.begun_s = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins the next phase, where one begins: in Keras, with another ``fit``."""
        network = trained_network(pl_module)
        if network.phases.number_of(network.epoch) != network.phases.number:
            self._end_phase(trainer)
            network.begin_phase()
            self._begin_phase(trainer, network)
        self.begun_s = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch down, and decides."""
        network = trained_network(pl_module)
        network.stop_if_not_finite(keep=0)
        logs = network.logs()
        row = row_of(network.epoch + 1, logs, rate_that_keras_writes(optimizer_of(trainer)))
        self.history = self.history.added(row)
        if trainer.is_global_zero:
            write_history(self.folder.history, self.history)
            self.reporter.epoch(row, self.recipe.epochs, time.monotonic() - self.begun_s)
        if self.events is not None:
            self.events.add(row)
        self._decide(trainer, row.epoch - 1, logs)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends the last phase."""
        self._end_phase(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Closes the event files."""
        if self.events is not None:
            self.events.close()

    # What it decides

    def _begin_phase(self, trainer: L.Trainer, pl_module: TrainedNetwork) -> None:
        """Makes the deciders anew; all but the best checkpoint, which is that of the whole training."""
        recipe = self.recipe
        best = self.deciders.get(BEST) or self._best_checkpoint(trainer, pl_module)
        self.deciders = {}
        if recipe.reduce_lr is not None:
            self.deciders[REDUCE] = ReduceLROnPlateau(optimizer_of(trainer), floatx=recipe.dtype, **recipe.reduce_lr)
        if recipe.early_stopping is not None:
            self.deciders[STOP] = EarlyStopping(pl_module.model, **recipe.early_stopping)
        self.deciders[BEST] = best

    def _best_checkpoint(self, trainer: L.Trainer, pl_module: TrainedNetwork) -> ModelCheckpoint:
        path = str(self.folder.best(PACKAGE)).replace("{", "{{").replace("}", "}}")  # what braces hold is filled in

        def save(path: str) -> None:
            if trainer.is_global_zero:
                save_converted(pl_module.model, path, optimizer=optimizer_of(trainer))

        return ModelCheckpoint(path, save, self.recipe.monitor, save_best_only=True)

    def _end_phase(self, trainer: L.Trainer) -> None:
        """Ends as ``fit`` does: the weights become their averages, or the best epoch's are put back."""
        optimizer_of(trainer).finalize_variable_values()
        epoch = self.deciders[STOP].on_train_end() if STOP in self.deciders else None
        if epoch is not None:
            self._note(trainer, f"the weights are again those of epoch {epoch + 1}")

    def _decide(self, trainer: L.Trainer, epoch: int, logs: Mapping[str, float]) -> None:
        if not is_number(logs.get(self.recipe.monitor)):
            self._note(trainer, f"{self.recipe.monitor} is no number in this epoch, which is not taken for the best")
        done = {
            name: decider.on_epoch_end(epoch, logs)
            for name, decider in self.deciders.items()
            if name != BEST or is_number(logs.get(self.recipe.monitor))
        }
        if done.get(REDUCE):
            self._note(trainer, f"learning rate lowered to {optimizer_of(trainer).param_groups[0]['lr']:.3g}")
        if done.get(STOP):
            trainer.should_stop = True
            patience = self.recipe.early_stopping_patience
            self._note(trainer, f"stopped early: {self.recipe.monitor} has not got better for {patience} epochs")

    def _note(self, trainer: L.Trainer, text: str) -> None:
        if trainer.is_global_zero:
            self.reporter.note(text)


def optimizer_of(trainer: L.Trainer) -> KerasOptimizer:
    """Returns the one optimizer of a training.

    Raises:
        TypeError: It is none of `resnet_torch.optimizers`.
    """
    optimizer = trainer.optimizers[0]
    if not isinstance(optimizer, KerasOptimizer):
        raise TypeError(f"these trainings take a KerasOptimizer alone. Received: {type(optimizer).__name__}.")
    return optimizer


def rate_that_keras_writes(optimizer: KerasOptimizer) -> float:
    """Returns the learning rate; with a schedule that of the next step."""
    schedule, group = optimizer.defaults["lr"], optimizer.param_groups[0]
    return float(schedule(group["iterations"]) if callable(schedule) else group["lr"])
