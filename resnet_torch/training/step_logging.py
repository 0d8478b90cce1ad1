"""Every step's loss in a CSV file, for whoever compares two runs step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from resnet_torch.training.decisions import optimizer_of, rate_that_keras_writes
from resnet_torch.training.loading import Part
from resnet_torch.training.module import trained_network
from weight_transfer.training.step_log import StepLog


class StepLogging(L.Callback):
    """Writes the loss over the whole batch and the learning rate of every step.

    Args:
        path: The CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log: StepLog | None = None
        self.noted: list[tuple[int, float, float]] = []  # of the epoch that is on, for a checkpoint within it
        self.rate = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the steps of the epoch that is on."""
        return {"noted": list(self.noted)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.noted = [tuple(step) for step in state_dict["noted"]]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the file, whose steps of later epochs, from before a kill, are dropped."""
        if trainer.is_global_zero:
            self.log = StepLog(self.path, trained_network(pl_module).position()[0])
            for step in self.noted:
                self.log.add(*step)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Part, batch_idx: int
    ) -> None:
        """Notes the rate of a step that begins."""
        self.rate = rate_that_keras_writes(optimizer_of(trainer))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Part, batch_idx: int
    ) -> None:
        """Notes a step that is done."""
        network = trained_network(pl_module)
        if (batch_idx + 1) % network.settings.accumulate:
            return
        step = network.epoch + 1, network.loss_of_step(), self.rate
        if self.log is not None:
            self.noted.append(step)
            self.log.add(*step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's steps."""
        self.noted.clear()
        if self.log is not None:
            self.log.flush()
