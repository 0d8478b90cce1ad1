"""Whether a metric got better, as Keras sees it: in which direction, compared in which arithmetic."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from weight_transfer.errors import TransferError, nearest

Mode: TypeAlias = Literal["auto", "min", "max"]
Rule: TypeAlias = Literal["keras3", "tf_keras"]
Logs: TypeAlias = Mapping[str, float]

TINY = float(np.finfo(np.float32).tiny)

# Names under which Keras 3 logs its metrics, and the shorthands that compile takes; what is better.
# Source: Keras 3.15.1 keras/src/metrics/, each class's default name and _direction.
HIGHER = frozenset(
    {
        "acc", "accuracy", "auc", "binary_accuracy", "binary_io_u", "categorical_accuracy", "concordance_correlation",
        "cosine_similarity", "f1_score", "fbeta_score", "io_u", "mean_io_u", "one_hot_io_u", "one_hot_mean_io_u",
        "pearson_correlation", "precision", "precision_at_recall", "r2_score", "recall", "recall_at_precision",
        "sensitivity_at_specificity", "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy",
        "specificity_at_sensitivity", "top_k_categorical_accuracy",
    }
)  # fmt: skip
LOWER = frozenset(
    {
        "bce", "binary_crossentropy", "categorical_crossentropy", "categorical_hinge", "hinge", "kl_divergence",
        "logcosh", "loss", "mae", "mape", "mean_absolute_error", "mean_absolute_percentage_error",
        "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle", "poisson", "root_mean_squared_error",
        "sparse_categorical_crossentropy", "squared_hinge",
    }
)  # fmt: skip


class Monitor:
    """The best value of a metric so far, and whether a new one is better.

    Keras 3 compares in float32 whatever its ``floatx`` is, so that values closer than it can tell are
    ties, and TensorFlow takes numbers below its normal range for zero. The first value is the best
    whatever it is: after a NaN nothing is better. tf_keras compares in float64 and starts from infinity.

    Args:
        metric: Key in the logs.
        mode: Whether lower (``min``) or higher (``max``) is better; ``auto`` knows it from the name.
        min_delta: By how much it must be better.
        best: What the first value must be better than, or None.
        rule: Whose arithmetic.
        higher_in_tf_keras: Whether, to tf_keras's ``auto``, higher is better; its callbacks differ in that.

    Attributes:
        best: The best value, or None before the first one.

    Raises:
        TransferError: ``mode`` is ``auto`` and the metric is none of Keras's, or an argument is impossible.

    Source: Keras 3.15.1 keras/src/callbacks/monitor_callback.py; tf_keras callbacks.py.
    """

    best: float | None

    def __init__(
        self,
        metric: str,
        mode: Mode = "auto",
        min_delta: float = 0.0,
        best: float | None = None,
        rule: Rule = "keras3",
        higher_in_tf_keras: bool = False,
    ) -> None:
        check_choice("mode", mode, ("auto", "min", "max"))
        check_choice("rule", rule, ("keras3", "tf_keras"))
        self.metric = metric
        self.rule = rule
        if mode == "auto":
            higher = higher_in_tf_keras if rule == "tf_keras" else is_higher_better(metric)
        else:
            higher = mode == "max"
        self.higher = higher
        # Subtracted from the new value, so that a positive one makes "less than" harder too.
        self.min_delta = abs(min_delta) if higher else -abs(min_delta)
        self.first = best
        self.restart()

    def restart(self) -> None:
        """Forgets the best value."""
        worst = None if self.rule == "keras3" else (-math.inf if self.higher else math.inf)
        self.best = worst if self.first is None else self.first

    def is_better(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than another by ``min_delta``; than None, always."""
        if reference is None:
            return True
        value, reference = self._rounded(value - self.min_delta), self._rounded(reference)
        return value > reference if self.higher else value < reference

    def value(self, logs: Logs) -> float | None:
        """The metric's value; None, with a warning as Keras gives it, where the logs do not hold it."""
        value = logs.get(self.metric)
        if value is None:
            warnings.warn(
                f"The metric {self.metric!r} is not in the logs, so that nothing is decided by it. "
                f"There are: {', '.join(logs) or 'none'}",
                stacklevel=3,
            )
            return None
        return float(value)

    def _rounded(self, value: float) -> float:
        if self.rule == "tf_keras":
            return value
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value))
        return 0.0 if abs(rounded) < TINY else rounded


def is_higher_better(metric: str) -> bool:
    """What Keras 3's ``auto`` finds, by the metric's name with or without ``val_``.

    Raises:
        TransferError: It is no metric that Keras has a direction for.
    """
    name = metric.removeprefix("val_")
    if name in HIGHER or name in LOWER:
        return name in HIGHER
    raise TransferError(
        f"Whether a high or a low {metric!r} is better does not show in its name{nearest(name, [*HIGHER, *LOWER])}. "
        "Pass mode='max' or mode='min'."
    )


def take_state(own: Mapping[str, Any], state: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Returns a saved state, if it has the fields of a callback's own.

    Raises:
        TransferError: It is the state of something else.
    """
    if own.keys() != state.keys():
        raise TransferError(
            f"The state is not that of {kind}. Expected: {', '.join(sorted(own)) or 'nothing'}. "
            f"Received: {', '.join(sorted(map(str, state))) or 'nothing'}"
        )
    return dict(state)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses an argument that is none of its choices.

    Raises:
        TransferError: It is not.
    """
    if value not in choices:
        raise TransferError(f"{name} must be one of {', '.join(choices)}. Received: {name}={value!r}")
