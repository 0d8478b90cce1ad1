"""The history as TensorBoard shows it, with the names that Keras's TensorBoard callback gives."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

from weight_transfer.training import EpochRow


class EventFiles:
    """Event files of a training: runs ``train`` and ``validation``, values by epoch, from 0 as in Keras.

    Args:
        folder: Where they are written.
        epochs: How many epochs there are already; TensorBoard forgets what it had been told after them.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        # TensorBoard imports TensorFlow where it is installed, which may not share a process with torch; this is
        # how it is told not to. Source: tensorboard/compat/__init__.py, tf.
        sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
        from torch.utils.tensorboard import SummaryWriter

        self.writers: dict[str, Any] = {
            run: SummaryWriter(str(folder / run), purge_step=epochs or None) for run in ("train", "validation")
        }

    def add(self, row: EpochRow) -> None:
        """Writes an epoch."""
        values: dict[str, dict[str, float | None]] = {
            "train": {"loss": row.loss, "accuracy": row.accuracy, "learning_rate": row.learning_rate},
            "validation": {"loss": row.val_loss, "accuracy": row.val_accuracy},
        }
        for run, by_name in values.items():
            for name, value in by_name.items():
                if value is not None:
                    self.writers[run].add_scalar(f"epoch_{name}", value, row.epoch - 1)
            self.writers[run].flush()

    def close(self) -> None:
        """Finishes the files."""
        for writer in self.writers.values():
            writer.close()
