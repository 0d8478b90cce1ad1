"""Random histories of a metric, as hard to decide on as they come, and the settings to decide them with."""

from __future__ import annotations

from typing import Any

import numpy as np

Sequence = list[float | None]  # None: the metric is missing
COUNT = 2000
RATE = 0.001  # what every history starts with

# Per callback, under a name: arguments in Keras's words; ``floatx`` is Keras's setting.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ReduceLROnPlateau": {
        "usual": {"patience": 2, "factor": 0.2},
        "cooldown": {"patience": 2, "factor": 0.3, "cooldown": 2, "min_lr": 1e-4, "min_delta": 0},
        "highest": {"patience": 0, "factor": 0.7, "cooldown": 1, "mode": "max", "min_delta": 0.01},
        "float64": {"patience": 1, "factor": 0.3, "floatx": "float64", "min_lr": 2e-5},
    },
    "EarlyStopping": {
        "usual": {"patience": 2, "restore_best_weights": True},
        "baseline": {"patience": 3, "baseline": 0.55, "min_delta": 1e-4, "restore_best_weights": True},
        "highest": {"patience": 1, "mode": "max", "start_from_epoch": 2, "min_delta": 0.01},
        "at once": {"patience": 0, "restore_best_weights": True},
    },
    "ModelCheckpoint": {
        "usual": {"save_best_only": True},
        "threshold": {"save_best_only": True, "mode": "max", "initial_value_threshold": 0.6},
        "all": {},
    },
}


def sequences(seed: int = 5, count: int = COUNT) -> list[Sequence]:
    """Histories of 2 to 8 epochs, of every kind in turn, with NaN, infinities and gaps strewn in."""
    random = np.random.default_rng(seed)
    kinds = (_ties, _plateau, _falling, _neighbours, _steps, _tiny)
    return [_strewn(kinds[i % len(kinds)](random, int(random.integers(2, 9))), random) for i in range(count)]


def rates(seed: int = 6, count: int = COUNT) -> list[tuple[str, list[float]]]:
    """Schedules for a LearningRateScheduler: what they do with the rate, and a number for each epoch."""
    random = np.random.default_rng(seed)
    kinds = ("times", "plus", "instead", "only epoch")
    return [(kinds[i % 4], list(random.uniform(0.1, 1.1, random.integers(2, 9)))) for i in range(count)]


def scheduled(kind: str, numbers: list[float]):
    """The schedule that `rates` means."""
    if kind == "only epoch":
        return lambda epoch: numbers[epoch] / 100
    if kind == "instead":
        return lambda epoch, rate: np.float32(numbers[epoch])
    if kind == "plus":
        return lambda epoch, rate: np.float64(rate + numbers[epoch] / 1000)
    return lambda epoch, rate: rate * numbers[epoch]


def _ties(random, n):
    return random.choice([0.5, 0.55, 0.6, 0.7], n)


def _plateau(random, n):
    return 0.6 - 0.1 * np.cumsum(random.random(n) < 0.2)


def _falling(random, n):
    return 2.0 * 0.8 ** np.arange(n) + random.normal(size=n) * 0.1


def _neighbours(random, n):
    """Float32 neighbours, and numbers between two of them."""
    return float(np.float32(random.uniform(0.4, 0.7))) + random.choice([-1, -0.4, -0.1, 0, 0.1, 0.4, 1], n) * 2.0**-24


def _steps(random, n):
    """Falls or rises by about ``min_delta`` at a time."""
    step = random.choice([1e-4, 0.01]) * random.choice([-1, 1])
    return random.uniform(0.4, 0.7) + np.cumsum(step + random.choice([-1e-9, 0, 1e-9], n))


def _tiny(random, n):
    """Below float32's normal range, where TensorFlow has only zero."""
    return random.choice([0, 1e-45, 1e-40, 1e-38, 1.2e-38, 2e-38, -1e-40, -2e-38], n)


def _strewn(values, random) -> Sequence:
    found: Sequence = [float(value) for value in values]
    for i in range(len(found)):
        draw = random.random()
        if draw < 0.05:
            found[i] = float(random.choice([np.nan, np.inf, -np.inf]))
        elif draw < 0.08:
            found[i] = None
    return found
