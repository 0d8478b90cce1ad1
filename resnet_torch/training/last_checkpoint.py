"""The last checkpoint: all that a resumed run needs, written so that a kill or a full disk leaves the one before."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from resnet_torch.training.loading import Part
from resnet_torch.training.module import trained_network
from weight_transfer.atomic import atomic_write
from weight_transfer.errors import CheckpointError


class AtomicCheckpoints(CheckpointIO):
    """Lightning's own format, in a file that is there whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            TransferError: The file cannot be written; the one before is unchanged.
        """
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # "unexpected pos 22016 vs 21936" is what torch makes of a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Callable[..., Any] | None = None, weights_only: Any = None
    ) -> dict[str, Any]:
        """Reads a checkpoint; nothing from the file is ever run.

        Raises:
            CheckpointError: It is not one.
        """
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
            if "place" not in checkpoint:
                raise KeyError("place")
        except (OSError, RuntimeError, EOFError, TypeError, KeyError, pickle.UnpicklingError) as error:
            reason = (str(error).splitlines() or ["it is empty"])[0]
            raise CheckpointError(
                f"{path}: not a checkpoint that training wrote ({reason}). Begin a new run with the weights of "
                "best.safetensors: --checkpoint."
            ) from error
        return checkpoint

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Removes a checkpoint."""
        Path(path).unlink(missing_ok=True)


class KeepLast(Checkpoint):
    """Writes the last checkpoint after every epoch, and within it where that is asked for.

    A `Checkpoint`, so that Lightning runs it after all other callbacks.

    Args:
        path: The file.
        every_steps: Steps of an epoch between two checkpoints, or None.
    """

    def __init__(self, path: Path, every_steps: int | None) -> None:
        self.path = path
        self.every_steps = every_steps

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Part, batch_idx: int
    ) -> None:
        """Writes one in the middle of an epoch, between two steps."""
        network = trained_network(pl_module)
        every = (self.every_steps or 0) * network.settings.accumulate
        if every and (batch_idx + 1) % every == 0 and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            network.save(self.path, (network.epoch, batch_idx + 1))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes one after an epoch, once all has been decided on it."""
        network = trained_network(pl_module)
        network.save(self.path, (network.epoch + 1, 0))
