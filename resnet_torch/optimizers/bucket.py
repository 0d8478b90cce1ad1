"""The tensors that one kernel of a step changes, and the numbers that Keras computes for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Number: TypeAlias = type[np.float32] | type[np.float64]


@dataclass
class Bucket:
    """A group's parameters of one device and dtype that have gradients.

    Attributes:
        number: numpy's type for what Keras computes once per step in the parameters' dtype.
        params: Parameters.
        grads: Their gradients; clipped ones once they are.
        slots: Each of the rule's slots, in the order of ``params``.
    """

    number: Number
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    slots: dict[str, list[Tensor]] = field(default_factory=dict)


def number_of(dtype: torch.dtype) -> Number:
    """Returns numpy's type for a parameter's dtype; float32 for half precisions."""
    return np.float64 if dtype == torch.float64 else np.float32


def through_float32(number: Number, value: float) -> Any:
    """Casts as Keras's TensorFlow backend casts a Python float: through float32, to float64 too.

    Source: Keras 3.15.1 keras/src/backend/tensorflow/core.py, cast: ``tf.cast(0.9, "float64")`` is
    0.8999999761581421, because TensorFlow makes a float32 tensor of it first.
    """
    return number(np.float32(value))
