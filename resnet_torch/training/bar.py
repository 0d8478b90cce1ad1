"""The progress bar of an epoch, on a terminal."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnet_torch.training.loading import Part
from resnet_torch.training.module import TrainedNetwork, trained_network
from weight_transfer.cli.terminal import err

REFRESH_S = 0.25  # between two looks at the loss, for which a GPU is waited for


class Bar(L.Callback):
    """Shows where an epoch is, with the loss so far of this process's images; gone when the epoch is over."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.looked_s = 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Part, batch_idx: int
    ) -> None:
        """Moves the bar on."""
        network = trained_network(pl_module)
        if self.progress is None:
            self._begin(trainer, network)
        if self.progress is None:
            return
        fields: dict[str, Any] = {}
        if time.monotonic() - self.looked_s > REFRESH_S:
            fields["numbers"] = _numbers(network)
            self.looked_s = time.monotonic()
        self.progress.update(self.task, completed=batch_idx + 1, **fields)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Part,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Moves the bar on."""
        if self.progress is not None:
            self.progress.advance(self.task)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the bar away."""
        self._end()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes the bar away."""
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Takes the bar away, so that the message stands alone."""
        self._end()

    def _begin(self, trainer: L.Trainer, pl_module: TrainedNetwork) -> None:
        if not trainer.is_global_zero or not err.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}"),
        )
        self.progress = Progress(*columns, console=err, transient=True)
        self.progress.start()
        total: float | None = trainer.num_training_batches + sum(trainer.num_val_batches)
        total = None if total == float("inf") else total  # a stream does not know
        epoch = f"epoch {pl_module.epoch + 1}/{trainer.max_epochs}"
        self.task = self.progress.add_task(epoch, total=total, numbers=_numbers(pl_module))

    def _end(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _numbers(pl_module: TrainedNetwork) -> str:
    loss, hits, count = pl_module.seen.sums.tolist()
    return f"loss {loss / count:.4f}  accuracy {hits / count:.4f}" if count else ""
