"""Keras's learning rate schedules: functions of the step, in Keras's own float32 arithmetic, bit for bit.

TensorFlow computes a schedule in float32 whatever the weights' dtype is, each operation rounded, and
takes ``pow`` and ``cos`` from the C library. Numbers below float32's normal range are zero there.

Inside ``fit`` it computes another last bit than where Keras's schedule is called directly, because its
graph optimizer multiplies by the reciprocal of a constant where the source divides by the constant,
and merges constant factors. Every schedule takes ``in_fit`` for that (seen on the CPU; where XLA
compiles the step, as on a GPU, its roundings are its own).

Source: Keras 3.15.1 keras/src/optimizers/schedules/learning_rate_schedule.py; the formulas are those
of each class's ``__call__``. tf_keras computes the same.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from weight_transfer.errors import TransferError

Schedule: TypeAlias = Callable[[int], float]

f32 = np.float32
ZERO, HALF, ONE, PI = f32(0), f32(0.5), f32(1), f32(math.pi)
TINY = np.finfo(f32).tiny


@dataclass(frozen=True)
class ExponentialDecay:
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Args:
        initial_learning_rate: The rate at step 0; a float, since Keras would compute in whole numbers.
        decay_steps: Steps in which the rate changes by ``decay_rate``.
        decay_rate: Factor.
        staircase: Whether to change it at once, after every ``decay_steps`` steps.
        in_fit: Whether to round as inside ``fit``.
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    in_fit: bool = False

    def __post_init__(self) -> None:
        _check(self.initial_learning_rate, decay_steps=self.decay_steps)

    def __call__(self, step: int) -> float:
        """Returns the rate at a step, counted from 0."""
        with np.errstate(all="ignore"):
            progress = _divided(f32(step), f32(self.decay_steps), self.in_fit)
            if self.staircase:
                progress = np.floor(progress)
            return float(_normal(f32(self.initial_learning_rate) * _normal(f32(self.decay_rate) ** progress)))


@dataclass(frozen=True)
class PiecewiseConstantDecay:
    """``values[i]`` from after ``boundaries[i - 1]`` to ``boundaries[i]``, the last one included.

    Args:
        boundaries: Increasing steps.
        values: Floats, one more.
        in_fit: Changes nothing here.
    """

    boundaries: Sequence[float]
    values: Sequence[float]
    in_fit: bool = False

    def __post_init__(self) -> None:
        if not self.boundaries or len(self.values) != len(self.boundaries) + 1:
            raise TransferError(
                "PiecewiseConstantDecay needs one value more than boundaries, and a boundary. "
                f"Received: {len(self.values)} values, {len(self.boundaries)} boundaries"
            )
        _check(*self.values)

    def __call__(self, step: int) -> float:
        """Returns the rate at a step, counted from 0."""
        # TensorFlow makes float32 of a boundary that is a float, then cuts it to the step's whole numbers.
        whole = [b if isinstance(b, int) else int(f32(b)) for b in self.boundaries]
        below = [step <= whole[0], *(low < step <= high for low, high in itertools.pairwise(whole)), step > whole[-1]]
        return float(sum((f32(value) for value, here in zip(self.values, below, strict=True) if here), ZERO))


@dataclass(frozen=True)
class PolynomialDecay:
    """From the initial rate to the end rate: their difference times ``(1 - step / decay_steps) ** power``.

    Args:
        initial_learning_rate: The rate at step 0; a float, since Keras would compute in whole numbers.
        decay_steps: Steps to the end.
        end_learning_rate: The rate from there on.
        power: Exponent.
        cycle: Whether to begin anew instead, from a lower rate each time.
        in_fit: Whether to round as inside ``fit``.
    """

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    in_fit: bool = False

    def __post_init__(self) -> None:
        _check(self.initial_learning_rate, decay_steps=self.decay_steps)

    def __call__(self, step: int) -> float:
        """Returns the rate at a step, counted from 0."""
        with np.errstate(all="ignore"):
            now, steps = f32(step), f32(self.decay_steps)
            if self.cycle:
                cycles = ONE if now == 0 else np.ceil(_divided(now, steps, self.in_fit))
                progress = now / (steps * cycles)
            else:
                progress = _divided(min(now, steps), steps, self.in_fit)
            end, left = f32(self.end_learning_rate), ONE - progress
            height = f32(self.initial_learning_rate) - end
            if self.in_fit and self.power == 3:
                return float((height * left) * (left * left) + end)
            return float(height * _normal(left ** f32(self.power)) + end)


@dataclass(frozen=True)
class InverseTimeDecay:
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``.

    Args:
        initial_learning_rate: The rate at step 0; a float, since Keras would compute in whole numbers.
        decay_steps: Steps that count as one.
        decay_rate: Factor.
        staircase: Whether to change the rate at once, after every ``decay_steps`` steps.
        in_fit: Whether to round as inside ``fit``.
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    in_fit: bool = False

    def __post_init__(self) -> None:
        _check(self.initial_learning_rate, decay_steps=self.decay_steps)

    def __call__(self, step: int) -> float:
        """Returns the rate at a step, counted from 0."""
        with np.errstate(all="ignore"):
            now, steps, rate = f32(step), f32(self.decay_steps), f32(self.decay_rate)
            if self.staircase:
                decay = rate * np.floor(_divided(now, steps, self.in_fit))
            else:
                decay = rate * (ONE / steps) * now if self.in_fit else rate * (now / steps)
            return float(f32(self.initial_learning_rate) / (ONE + decay))


@dataclass(frozen=True)
class CosineDecay:
    """Half a cosine down to ``alpha`` times the rate, after an optional straight warm-up.

    Without a warm-up, from ``initial_learning_rate`` in ``decay_steps`` steps. With one, first from
    ``initial_learning_rate`` to ``warmup_target`` in ``warmup_steps`` steps, then down from there.

    Args:
        initial_learning_rate: The rate at step 0; a float, since Keras would compute in whole numbers.
        decay_steps: Steps of the cosine, not counting the warm-up's.
        alpha: The last rate, as a share of the highest.
        warmup_target: The highest rate, or None for no warm-up.
        warmup_steps: Steps of the warm-up.
        in_fit: Whether to round as inside ``fit``; the same with a warm-up.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: float = 0
    in_fit: bool = False

    def __post_init__(self) -> None:
        _check(self.initial_learning_rate, decay_steps=self.decay_steps)

    def __call__(self, step: int) -> float:
        """Returns the rate at a step, counted from 0."""
        with np.errstate(all="ignore"):
            now, steps, start = f32(step), f32(self.decay_steps), f32(self.initial_learning_rate)
            if self.warmup_target is None:
                now = min(now, steps)
                angle = PI * (ONE / steps) * now if self.in_fit else PI * (now / steps)
                return float(start * self._remaining(angle))
            warmup, target = f32(self.warmup_steps), f32(self.warmup_target)
            now = min(now, steps + warmup)
            if now < warmup:
                return float((target - start) * (now / warmup) + start)
            return float(target * self._remaining(PI * ((now - warmup) / steps)))

    def _remaining(self, angle: np.float32) -> np.float32:
        cosine = HALF * (ONE + _cosine(angle))
        return f32(1 - self.alpha) * cosine + f32(self.alpha)


@dataclass(frozen=True)
class Keras2Decay:
    """``lr / (1 + decay * step)``: the ``decay`` argument of Keras 2's optimizers.

    Args:
        lr: The rate at step 0, or a schedule of it.
        decay: Keras 2's ``decay``.

    Source: tf_keras optimizers/legacy/optimizer_v2.py, _decayed_lr, in the weights' dtype.
    """

    lr: float | Schedule
    decay: float

    def __call__(self, step: int) -> float:
        """Returns the rate at a step, counted from 0."""
        lr = self.lr(step) if callable(self.lr) else self.lr
        return lr / (1.0 + float(f32(self.decay)) * step)


# By the name of the row in `weight_transfer.optimizer.classes.SCHEDULES`.
SCHEDULE_CLASSES: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (ExponentialDecay, PiecewiseConstantDecay, PolynomialDecay, InverseTimeDecay, CosineDecay)
}


def schedule_from_keras(config: Mapping[str, Any], in_fit: bool = False) -> Schedule:
    """Builds a schedule from what Keras serializes it as.

    Args:
        config: ``class_name`` and ``config``, of Keras 3 or tf_keras.
        in_fit: Whether it rounds as inside ``fit``.

    Raises:
        TransferError: The schedule, or an argument of it, is not known.
    """
    name, arguments = str(config.get("class_name")), dict(config.get("config") or {})
    if name not in SCHEDULE_CLASSES:
        raise TransferError(
            f"No learning rate schedule {name!r}. Known: {', '.join(sorted(SCHEDULE_CLASSES))}. "
            "Write it as a function of the step, and pass it as lr."
        )
    arguments.pop("name", None)
    try:
        schedule: Schedule = SCHEDULE_CLASSES[name](**arguments, in_fit=in_fit)
    except TypeError as error:
        raise TransferError(f"{name} does not take what its config holds: {error}") from None
    return schedule


def _check(*rates: float, decay_steps: float = 1) -> None:
    whole = [rate for rate in rates if not isinstance(rate, float)]
    if whole:
        raise TransferError(f"A learning rate must be a float: of whole numbers, Keras makes others. Received: {whole}")
    if not decay_steps > 0:
        raise TransferError(f"decay_steps must be above 0. Received: decay_steps={decay_steps}")


def _divided(x: np.float32, constant: np.float32, in_fit: bool) -> np.float32:
    return x * (ONE / constant) if in_fit else x / constant


def _normal(x: np.float32) -> np.float32:
    """Zero for a number below float32's normal range, as in TensorFlow."""
    return ZERO if abs(x) < TINY else x


def _c_library_cosine() -> Callable[[float], float]:
    """The C library's float32 cosine, which TensorFlow calls; numpy's own differs in the last bit of one in six."""
    try:
        cosine = ctypes.CDLL(None).cosf
    except (AttributeError, OSError, TypeError):  # Windows: rounded from float64, all but 1 in 80 the same
        return math.cos
    cosine.argtypes, cosine.restype = [ctypes.c_float], ctypes.c_float
    return cosine


_COSINE = _c_library_cosine()


def _cosine(x: np.float32) -> np.float32:
    return f32(_COSINE(float(x)))
