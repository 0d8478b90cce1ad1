"""What an optimizer keeps once: the step counter, the learning rate, a loss scale, Nadam's product."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from weight_transfer.checkpoint import Array
from weight_transfer.errors import CheckpointError, TransferError, quoted
from weight_transfer.optimizer.identify import FileOptimizer
from weight_transfer.optimizer.state import LossScale

NOTHING = 1e-40  # a product that changes nothing any more where it is taken from 1
MOST_STEPS = 2**53  # beyond it a float64 no longer counts by one


@dataclass(frozen=True)
class Scalars:
    """An optimizer's numbers.

    Attributes:
        iterations: Steps taken.
        learning_rate: The current one; None where a schedule gives it.
        loss_scale: Of mixed precision.
        rest: The arrays that remain.
        assumed: What the file did not say, in words.
    """

    iterations: int
    learning_rate: float | None
    loss_scale: LossScale | None
    rest: tuple[Array, ...]
    assumed: tuple[str, ...]


def read_scalars(label: str, arrays: Sequence[Array], found: FileOptimizer) -> Scalars:
    """Reads the numbers that stand before an optimizer's slots.

    Raises:
        CheckpointError: They are not there, or not what a counter and a rate can be.
        TransferError: Nothing says how fast to learn.
    """
    waiting, scale = list(arrays), None
    unsaid: tuple[str, ...] = ()
    if found.scaling is not None and found.scale_saved:
        scale, waiting = _loss_scale(label, waiting, found)
    elif found.scaling is not None:
        scale, unsaid = _first_scale(label, found.scaling)
    iterations, assumed = _iterations(label, waiting, found)
    stored = None
    if waiting and waiting[0].shape == () and waiting[0].dtype.kind == "f" and found.spec.generation == "keras3":
        # Of Nadam alone the last array is a number too, but never the first.
        stored = _number(label, "learning rate", waiting.pop(0))
    rate = _learning_rate(label, stored, found)
    return Scalars(iterations, rate, scale, tuple(waiting), (*unsaid, *assumed))


def u_product_of(iterations: int, beta_1: float, dtype: np.dtype[Any]) -> float:
    """Returns Nadam's product, which tf_keras does not save: of the warming momentum of every step so far.

    Source: update_step in tf_keras/src/optimizers/nadam.py, tf_keras 2.21.0, with its roundings.
    """
    if not 0 <= beta_1 < 1:
        raise TransferError(f"Nadam's beta_1 must be from 0 to below 1. Received: beta_1={beta_1}")
    number = np.float64 if dtype == np.float64 else np.float32
    beta, base = number(np.float32(beta_1)), number(np.float32(0.96))
    product = number(1)
    for step in range(1, iterations + 1):
        product = product * (beta * (number(1) - number(0.5) * base ** number(step)))
        if product < NOTHING:
            break
    return float(product)


def _iterations(label: str, waiting: list[Array], found: FileOptimizer) -> tuple[int, tuple[str, ...]]:
    old = found.spec.generation == "keras2"
    if old and (not waiting or waiting[0].shape != ()):
        if found.spec.schedule is not None or found.spec.arguments.get("decay"):
            raise TransferError(
                f"{quoted(label)}: its optimizer kept no step count (RMSprop and Adagrad before Keras 2.3), and its "
                "learning rate depends on it. Load it in that Keras, compile without decay, and save again."
            )
        return 0, ("iterations 0 (this Keras kept no count; nothing depends on it)",)
    if not waiting or waiting[0].shape != () or waiting[0].dtype.kind not in ("iuf" if old else "iu"):
        raise CheckpointError(
            f"{quoted(label)}: its optimizer's first variable is no step counter. Expected a whole number. "
            "Save the model again with Keras."
        )
    value = waiting.pop(0).read().item()
    if not 0 <= value <= MOST_STEPS or value != int(value):
        raise CheckpointError(f"{quoted(label)}: its optimizer's step counter is {value}. Expected 0 or more.")
    return int(value), ()


def _learning_rate(label: str, stored: float | None, found: FileOptimizer) -> float | None:
    """The current rate: the variable's where there is one, for what was compiled may have been lowered since."""
    spec = found.spec
    configured = spec.arguments.get("learning_rate")
    if spec.schedule is not None or spec.arguments.get("decay"):
        return None
    if stored is not None and not found.rate_given:
        return stored
    if isinstance(configured, Real) and (found.own or found.rate_given):
        return float(configured)
    raise TransferError(
        f"{quoted(label)}: does not say how fast its optimizer learns now; tf_keras keeps that beside the model's "
        "description only. Give --optimizer 'learning_rate=1e-4' with the rate of its last step."
    )


def _loss_scale(label: str, arrays: list[Array], found: FileOptimizer) -> tuple[LossScale, list[Array]]:
    """Counter and rate of the outer optimizer, which mean nothing, then its step counter and its scale.

    Source: keras/src/optimizers/loss_scale_optimizer.py, build and variables, keras 3.15.1.
    """
    own, rest = arrays[:4], arrays[4:]
    interval = (found.scaling or {}).get("dynamic_growth_steps")
    if [array.shape for array in own] != [()] * 4 or not isinstance(interval, int):
        raise CheckpointError(f"{quoted(label)}: its LossScaleOptimizer's variables are not all there.")
    return LossScale(_number(label, "loss scale", own[3]), int(own[2].read()), interval), rest


def _first_scale(label: str, scaling: Mapping[str, Any]) -> tuple[LossScale | None, tuple[str, ...]]:
    """What tf_keras begins with, which does not save its scale: its own `load_model` begins so again.

    Source: LossScaleOptimizer in tf_keras/src/mixed_precision/loss_scale_optimizer.py, tf_keras 2.21.0.
    """
    first, interval = scaling["initial_scale"], scaling.get("dynamic_growth_steps")
    if not isinstance(first, Real) or not math.isfinite(first) or first <= 0:
        raise CheckpointError(f"{quoted(label)}: its loss scale is {first!r}. Expected a number above 0.")
    if not scaling.get("dynamic", True) or not isinstance(interval, int):
        return None, (f"no loss scale: the file's is {first:g} throughout, for half precision alone",)
    return LossScale(float(first), 0, interval), (f"loss scale {first:g}: the first one, as tf_keras keeps none",)


def _number(label: str, what: str, array: Array) -> float:
    value = float(array.read())
    if not np.isfinite(value) or value < 0:
        raise CheckpointError(f"{quoted(label)}: its {what} is {value}. Expected a number from 0.")
    return value
