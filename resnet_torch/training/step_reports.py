"""Tells a reporter how far each epoch is."""

from __future__ import annotations

import time
from typing import Any

import lightning as L

from resnet_torch.training.loading import Part
from resnet_torch.training.module import trained_network
from weight_transfer.training.reporter import Reporter, Step

REFRESH_S = 0.25  # between two looks at the loss, for which a GPU is waited for


class StepReports(L.Callback):
    """Reports every batch, with the loss so far of this process's images.

    Args:
        reporter: What is told.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.done = 0
        self.looked_s = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts from 0 again."""
        self.done = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Part, batch_idx: int
    ) -> None:
        """Reports a batch that was trained on."""
        looks = time.monotonic() - self.looked_s > REFRESH_S
        if looks:
            self.looked_s = time.monotonic()
        self.done = batch_idx + 1
        self._report(trainer, pl_module, looks)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Part,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Reports a batch that was validated on."""
        self.done += 1
        self._report(trainer, pl_module, looks=False)

    def _report(self, trainer: L.Trainer, pl_module: L.LightningModule, looks: bool) -> None:
        if not trainer.is_global_zero:
            return
        network = trained_network(pl_module)
        total: float = trainer.num_training_batches + sum(trainer.num_val_batches)
        loss, hits, count = network.seen.sums.tolist() if looks else (0.0, 0.0, 0)
        self.reporter.step(
            Step(
                epoch=network.epoch + 1,
                epochs=network.recipe.epochs,
                done=self.done,
                total=None if total == float("inf") else int(total),  # a stream does not know
                loss=loss / count if count else None,
                accuracy=hits / count if count else None,
            )
        )
