"""Keras's ReduceLROnPlateau; PyTorch's has another patience, threshold and cooldown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.optim import Optimizer

from resnet_torch.callbacks.learning_rate import FloatX, check_settable, learning_rate, set_learning_rate
from resnet_torch.callbacks.monitor import Logs, Mode, Monitor, Rule, take_state
from weight_transfer.errors import TransferError


class ReduceLROnPlateau:
    """Multiplies the learning rate by ``factor`` once a metric has not got better for ``patience`` epochs.

    Call `on_epoch_end` after each epoch's validation.

    Args:
        optimizer: Whose parameter groups' ``lr`` is reduced, each from its own.
        monitor: Key of the metric in the logs; ``learning_rate`` is always there.
        factor: Below 1.
        patience: Epochs without getting better; 0 acts as 1.
        mode: Whether lower (``min``) or higher (``max``) is better; ``auto`` knows it from the name.
        min_delta: By how much, not by which share, it must be better.
        cooldown: Epochs after a reduction in which none is counted.
        min_lr: The rate goes no lower.
        rule: Whose decisions: those of Keras 3, or tf_keras, which compares in float64 and does not
            take a NaN in the first epoch for the best value.
        floatx: Keras's setting of that name, the dtype of the learning rate.

    Raises:
        TransferError: An argument is one that Keras would not take.

    Source: Keras 3.15.1 keras/src/callbacks/reduce_lr_on_plateau.py; tf_keras 2.21 callbacks.py.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        rule: Rule = "keras3",
        floatx: FloatX = "float32",
    ) -> None:
        if not factor < 1:
            raise TransferError(f"factor must be below 1. Received: factor={factor}")
        check_settable(optimizer, floatx)
        self.optimizer = optimizer
        self.monitor = Monitor(monitor, mode, min_delta, None, rule, "acc" in monitor)
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.floatx: FloatX = floatx
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Starts anew, as Keras does at each ``fit``."""
        self.monitor.restart()
        self.wait = 0
        self.cooldown_counter = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Does nothing."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> bool:
        """Decides after an epoch.

        Args:
            epoch: Counted from 0; Keras does not read it here.
            logs: The epoch's metrics.

        Returns:
            Whether a learning rate was reduced.
        """
        rate = learning_rate(self.optimizer.param_groups[0], self.floatx)
        current = self.monitor.value({**logs, "learning_rate": rate})
        if current is None:
            return False
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_better(current):
            self.monitor.best = current
            self.wait = 0
            return False
        if self.cooldown_counter > 0:
            return False
        self.wait += 1
        if self.wait < self.patience or not self._reduce():
            return False
        self.cooldown_counter = self.cooldown
        self.wait = 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """Returns what the next decisions depend on, as JSON can hold it."""
        return {"best": self.monitor.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on deciding where `state_dict` was taken.

        Raises:
            TransferError: It is the state of something else.
        """
        taken = take_state(self.state_dict(), state, type(self).__name__)
        self.monitor.best, self.wait = taken["best"], taken["wait"]
        self.cooldown_counter = taken["cooldown_counter"]

    def _is_better(self, current: float) -> bool:
        best, delta = self.monitor.best, self.monitor.min_delta
        if self.monitor.rule == "tf_keras" and best is not None:  # which adds the delta to the other side
            return current > best + delta if self.monitor.higher else current < best + delta
        return self.monitor.is_better(current, best)

    def _reduce(self) -> bool:
        """Reduces the rate of each group that is above ``min_lr``."""
        reduced = False
        for group in self.optimizer.param_groups:
            old = learning_rate(group, self.floatx)
            # Keras 3 compares a Python float with a numpy float32, which makes one of it; tf_keras its own dtype.
            held = np.float32(old) if self.monitor.rule == "keras3" else np.float64(old)
            if held > np.float32(self.min_lr):
                set_learning_rate(group, max(self._product(old), self.min_lr), self.floatx)
                reduced = True
        return reduced

    def _product(self, old: float) -> float:
        if self.monitor.rule == "keras3":
            return old * self.factor
        number = np.dtype(self.floatx).type  # tf_keras multiplies in the rate's own dtype
        return float(number(old) * number(self.factor))
