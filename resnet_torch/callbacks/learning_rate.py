"""An optimizer's learning rate as the number that Keras's variable would hold."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from resnet_torch.callbacks.monitor import check_choice
from weight_transfer.errors import TransferError

FloatX: TypeAlias = Literal["float32", "float64"]

KERAS_FLOAT = (float, np.float32, np.float64)


def check_settable(optimizer: Optimizer, floatx: FloatX) -> None:
    """Refuses, as Keras does, an optimizer whose rate is a schedule, which would undo what is set.

    Raises:
        TransferError: It is, or there is no such ``floatx``.
    """
    check_choice("floatx", floatx, ("float32", "float64"))
    if callable(optimizer.defaults.get("lr")):
        raise TransferError(
            "This optimizer's lr is a schedule of the step, which sets it anew at every step. "
            "Give the optimizer a number for lr, or leave this callback out."
        )


def learning_rate(group: dict[str, Any], floatx: FloatX) -> float:
    """A parameter group's rate, as Keras's variable of this dtype holds it."""
    return rounded(float(group["lr"]), floatx)


def set_learning_rate(group: dict[str, Any], value: float, floatx: FloatX) -> float:
    """Sets a parameter group's rate to what Keras's variable would hold, and returns that."""
    value = rounded(value, floatx)
    if isinstance(group["lr"], Tensor):  # torch's own optimizers with capturable=True
        group["lr"].fill_(value)
    else:
        group["lr"] = value
    return value


def rounded(value: float, floatx: FloatX) -> float:
    """A number as a variable of this dtype holds it."""
    with np.errstate(over="ignore"):
        return float(np.dtype(floatx).type(value))
