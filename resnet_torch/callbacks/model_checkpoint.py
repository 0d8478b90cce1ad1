"""Keras's ModelCheckpoint: when to save, and under which name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resnet_torch.callbacks.monitor import Logs, Mode, Monitor, Rule, take_state
from weight_transfer.errors import TransferError


class ModelCheckpoint:
    """Saves after each epoch, or after each that is the best so far.

    Args:
        path: Where to; ``{epoch}``, counted from 1, and the logs' keys are filled in, as in
            ``"best-{epoch:02d}-{val_loss:.2f}.safetensors"``. Its folder is made.
        save: Writes the model to a path, such as ``lambda path: torch.save(model.state_dict(), path)``.
        monitor: Key of the metric in the logs.
        save_best_only: Whether to save only where the metric is better than ever.
        mode: Whether lower (``min``) or higher (``max``) is better; ``auto`` knows it from the name.
        initial_value_threshold: What the first saved value must be better than.
        rule: Whose decisions: those of Keras 3, which saves where the metric is missing, or tf_keras,
            which does not, compares in float64 and does not take a NaN for the best value.

    Raises:
        TransferError: An argument is impossible, or ``auto`` cannot know the mode.

    Source: Keras 3.15.1 keras/src/callbacks/model_checkpoint.py; tf_keras 2.21 callbacks.py.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save: Callable[[str], object],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: Mode = "auto",
        initial_value_threshold: float | None = None,
        rule: Rule = "keras3",
    ) -> None:
        self.path = os.fspath(path)
        self.save = save
        higher = "acc" in monitor or monitor.startswith("fmeasure")
        self.monitor = Monitor(monitor, mode, 0.0, initial_value_threshold, rule, higher)
        self.save_best_only = save_best_only

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Does nothing."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> str | None:
        """Saves after an epoch, or does not. The best value is only replaced once the model is saved.

        Args:
            epoch: Counted from 0.
            logs: The epoch's metrics.

        Returns:
            Where it was saved, or None.

        Raises:
            TransferError: The path asks for something that is not in the logs.
        """
        path = self._path(epoch, logs)
        current = self.monitor.value(logs) if self.save_best_only else None
        if self.save_best_only and not self._should_save(current):
            return None
        if "://" not in path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.save(path)
        if current is not None:
            self.monitor.best = current
        return path

    def state_dict(self) -> dict[str, Any]:
        """Returns what the next decisions depend on, as JSON can hold it."""
        return {"best": self.monitor.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on deciding where `state_dict` was taken.

        Raises:
            TransferError: It is the state of something else.
        """
        self.monitor.best = take_state(self.state_dict(), state, type(self).__name__)["best"]

    def _should_save(self, current: float | None) -> bool:
        if current is None:
            return self.monitor.rule == "keras3"
        return self.monitor.is_better(current, self.monitor.best)

    def _path(self, epoch: int, logs: Logs) -> str:
        try:
            return self.path.format(**{**logs, "epoch": epoch + 1})
        except (KeyError, IndexError, ValueError) as error:
            raise TransferError(
                f"The path {self.path!r} cannot be filled in ({error!r}). "
                f"There are: {', '.join(['epoch', *logs])}. Write {{epoch:02d}} or {{val_loss:.3f}}."
            ) from None
