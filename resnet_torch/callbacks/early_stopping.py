"""Keras's EarlyStopping, with the best epoch's weights put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from resnet_torch.callbacks.monitor import Logs, Mode, Monitor, Rule, take_state


class EarlyStopping:
    """Says to stop once a metric has not got better for ``patience`` epochs.

    Call `on_epoch_end` after each epoch's validation, break where `stop_training` is true, and call
    `on_train_end` after the last epoch however training ended: it puts the best weights back.

    Args:
        model: Whose weights are kept and put back, the module itself where it is wrapped or compiled.
        monitor: Key of the metric in the logs.
        min_delta: By how much it must be better.
        patience: Epochs without getting better; 0 acts as 1. The first epoch never stops.
        mode: Whether lower (``min``) or higher (``max``) is better; ``auto`` knows it from the name.
        baseline: What the metric must be better than for the patience to start anew.
        restore_best_weights: Whether to keep a copy of the best epoch's weights in the CPU's memory.
        start_from_epoch: Epochs, counted from 0, before this one are not looked at.
        rule: Whose decisions: those of Keras 3, or tf_keras, which compares in float64 and does not
            take a NaN in the first epoch for the best value.

    Attributes:
        stop_training: Whether training should stop; stays true once it is.
        stopped_epoch: When that was decided, counted from 0; 0 before.
        best_epoch: Which epoch's weights are the best, counted from 0.

    Raises:
        TransferError: An argument is impossible, or ``auto`` cannot know the mode.

    Source: Keras 3.15.1 keras/src/callbacks/early_stopping.py; tf_keras 2.21 callbacks.py.
    """

    def __init__(
        self,
        model: nn.Module,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        rule: Rule = "keras3",
    ) -> None:
        self.model = model
        self.monitor = Monitor(monitor, mode, min_delta, None, rule, monitor.endswith(("acc", "accuracy", "auc")))
        self.patience = patience
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Starts anew, as Keras does at each ``fit``."""
        self.monitor.restart()
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] | None = None
        self.stop_training = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Does nothing."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> bool:
        """Decides after an epoch.

        Args:
            epoch: Counted from 0.
            logs: The epoch's metrics.

        Returns:
            `stop_training`.
        """
        current = self.monitor.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return self.stop_training
        self.wait += 1
        better = self.monitor.is_better(current, self.monitor.best)
        if better or self.best_weights is None:
            self._keep(epoch)
        if better:
            self.monitor.best = current
            self.best_epoch = epoch
            if self.baseline is None or self.monitor.is_better(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.stop_training = True
        return self.stop_training

    def on_train_end(self, logs: Logs | None = None) -> int | None:
        """Puts the best weights back, where they were kept.

        Returns:
            Which epoch's they are, counted from 0, or None where nothing was put back.
        """
        if self.best_weights is None:
            return None
        self.model.load_state_dict(self.best_weights)
        return self.best_epoch

    def state_dict(self) -> dict[str, Any]:
        """Returns what the next decisions depend on, the best weights with it."""
        return {
            "best": self.monitor.best,
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "stop_training": self.stop_training,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on deciding where `state_dict` was taken.

        Raises:
            TransferError: It is the state of something else.
        """
        taken = take_state(self.state_dict(), state, type(self).__name__)
        self.monitor.best = taken.pop("best")
        for name, value in taken.items():
            setattr(self, name, value)

    def _keep(self, epoch: int) -> None:
        if self.restore_best_weights:
            self.best_weights = {
                name: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
                for name, value in self.model.state_dict().items()
            }
            self.best_epoch = epoch
