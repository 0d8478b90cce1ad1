"""The loss of the training check: one that every network has, the same numbers on both sides."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Loss = Literal["cross entropy", "binary cross entropy", "mean square"]

OF_ACTIVATION: dict[str | None, Loss] = {"softmax": "cross entropy", "sigmoid": "binary cross entropy"}


def loss_of(last_activation: str | None) -> Loss:
    """The loss of an output, computed on its logits; a network's is the sum over its outputs, each a mean."""
    return OF_ACTIVATION.get(last_activation, "mean square")


def target(loss: Loss, shape: tuple[int, ...], labels: Any = None) -> Any:
    """What an output is to become.

    Args:
        loss: Of the output.
        shape: Of the logits, channels last.
        labels: (N,), classes of images that have some: an array or a tensor. Counted anew from 0 where the
            output has fewer classes.

    Returns:
        For ``cross entropy`` class numbers, ``shape`` without the last axis: 0, 1, 2 and so on, or the
        labels where the output is (N, classes). For ``binary cross entropy`` 0, 1, 0, 1 in ``shape``; for
        ``mean square`` zeros.
    """
    if loss == "cross entropy" and labels is not None and len(shape) == 2:
        return labels % shape[-1]
    if loss == "cross entropy":
        return (np.arange(math.prod(shape[:-1])) % shape[-1]).reshape(shape[:-1])
    if loss == "binary cross entropy":
        return (np.arange(math.prod(shape)) % 2).astype(np.float64).reshape(shape)
    return np.zeros(shape)
