"""Keras's LearningRateScheduler: a new rate before each epoch, from the epoch and the rate at hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch.optim import Optimizer

from resnet_torch.callbacks.learning_rate import KERAS_FLOAT, FloatX, check_settable, learning_rate, set_learning_rate
from resnet_torch.callbacks.monitor import Logs, take_state
from weight_transfer.errors import TransferError

EpochSchedule: TypeAlias = Callable[[int, float], float] | Callable[[int], float]


class LearningRateScheduler:
    """Sets the learning rate at the beginning of every epoch; the same in Keras 3 and tf_keras.

    Args:
        optimizer: Whose parameter groups' ``lr`` is set, each from its own.
        schedule: Gives the new rate, a float, from the epoch, counted from 0, and the rate at hand;
            or from the epoch alone.
        floatx: Keras's setting of that name, the dtype of the learning rate.

    Raises:
        TransferError: The optimizer's rate is a schedule of the step already.

    Source: Keras 3.15.1 keras/src/callbacks/learning_rate_scheduler.py.
    """

    def __init__(self, optimizer: Optimizer, schedule: EpochSchedule, floatx: FloatX = "float32") -> None:
        check_settable(optimizer, floatx)
        self.optimizer = optimizer
        self.schedule: Callable[..., float] = schedule
        self.floatx: FloatX = floatx
        self._reads_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> float:
        """Sets the rate for an epoch.

        Args:
            epoch: Counted from 0.
            logs: Not read.

        Returns:
            The rate of the first parameter group.

        Raises:
            TransferError: The schedule gives no float.
        """
        groups = self.optimizer.param_groups
        rates = [set_learning_rate(group, self._rate(epoch, group), self.floatx) for group in groups]
        return rates[0]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Does nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the rate is the optimizer's."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave.

        Raises:
            TransferError: It is the state of something else.
        """
        take_state({}, state, type(self).__name__)

    def _rate(self, epoch: int, group: dict[str, Any]) -> float:
        rate = (learning_rate(group, self.floatx),) if self._reads_rate else ()
        value = self.schedule(epoch, *rate)
        if not isinstance(value, KERAS_FLOAT):
            raise TransferError(
                f"A schedule must give a float, at epoch {epoch} it gave {value!r}. Make a float of it in the schedule."
            )
        return float(value)


def _takes_two(schedule: EpochSchedule) -> bool:
    """Whether it can be called with an epoch and a rate."""
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a built-in function that does not tell
        return True
    return True
