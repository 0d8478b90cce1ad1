"""The rows of a verification by check and device: what a table or a chart shows together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weight_transfer.parity.report import Check, Row, Verification

# Title, and what a row of the check is.
CHECKS: Mapping[Check, tuple[str, str]] = {
    "predict": ("The owner's predict", "What model.predict gives, in the model's own precision."),
    "training call": ("The owner's training call", "What model(x, training=True) gives, random layers held still."),
    "moved statistics": ("What it moves", "By how much that call moves each batch norm's mean and variance."),
    "trained loss": ("The owner's loss", "What one train_on_batch gives: the file's own loss, its penalties included."),
    "trained weights": ("What it trains", "By how much that step moves each array, by the file's own optimizer."),
    "exact": ("Exact runs", "What each layer gives for numbers on which its arithmetic rounds nothing."),
    "local output": ("Layers in training", "What each layer by itself gives for random numbers, in training mode."),
    "local gradient": ("Layers' gradients", "The gradients that each layer by itself gives back for random ones."),
    "local statistics": ("Layers' statistics", "Each batch norm's moving mean and variance after its own step."),
    "inference": ("Inference", "What each layer gives, in inference mode."),
    "training": ("Training", "What each layer gives, in training mode."),
    "loss": ("Loss", "Of one training step."),
    "gradient": ("Gradients", "The loss's gradient for each parameter."),
    "statistics": ("Statistics", "Each batch norm's moving mean and variance after one training step."),
    "step": ("Steps", "The loss of each step of a training run."),
    "weights": ("Weights", "Each parameter after the last step."),
    "slots": ("Slots", "What the optimizer keeps of each parameter, after the last step."),
    "moving": ("Moving statistics", "Each batch norm's moving mean and variance after the last step."),
}
PRECISIONS = ("float64", "float32")  # these first, then whatever else was run


@dataclass(frozen=True)
class Group:
    """The rows of one check on one device.

    Attributes:
        check: Which.
        device: Which.
        rows: In execution order, each with its place among all rows of the verification.
    """

    check: Check
    device: str
    rows: tuple[tuple[int, Row], ...]

    @property
    def title(self) -> str:
        """Of the check, in words."""
        return CHECKS[self.check][0]

    @property
    def text(self) -> str:
        """What one row of it is."""
        return CHECKS[self.check][1]

    @property
    def num_equal(self) -> int:
        """Rows that agree."""
        return sum(row.passed for _, row in self.rows)

    @property
    def first_divergence(self) -> int | None:
        """Position in `rows` of the first that does not agree."""
        return next((position for position, (_, row) in enumerate(self.rows) if not row.passed), None)

    @property
    def precisions(self) -> list[str]:
        """Those that were measured in this check."""
        return precisions([row for _, row in self.rows])

    @property
    def gated(self) -> list[str]:
        """Those of them that have a limit."""
        return gated([row for _, row in self.rows])

    @property
    def has_noise(self) -> bool:
        """Whether the reference's own float32 is known."""
        return any(row.noise is not None for _, row in self.rows)

    def worst(self, precision: str) -> Row | None:
        """The row with the largest error in a precision; None where nothing ran in it."""
        return worst_of([row for _, row in self.rows], precision)


def worst_of(rows: Sequence[Row], precision: str) -> Row | None:
    """Returns the row with the largest error, not a number worse than any; None where none ran in this precision."""
    measured = [row for row in rows if precision in row.errors]
    return max(measured, key=lambda row: (math.isnan(row.errors[precision]), row.errors[precision]), default=None)


def groups(found: Verification) -> list[Group]:
    """Returns the rows by check and device, in the order in which they appear."""
    together: dict[tuple[Check, str], list[tuple[int, Row]]] = {}
    for place, row in enumerate(found.rows):
        together.setdefault((row.check, row.device), []).append((place, row))
    return [Group(check, device, tuple(rows)) for (check, device), rows in together.items()]


def devices(rows: Sequence[Row]) -> list[str]:
    """Returns the devices, in the order in which they appear."""
    return list(dict.fromkeys(row.device for row in rows))


def precisions(rows: Sequence[Row]) -> list[str]:
    """Returns the precisions that were run, float64 and float32 first."""
    run = dict.fromkeys(precision for row in rows for precision in row.errors)
    return [name for name in PRECISIONS if name in run] + [name for name in run if name not in PRECISIONS]


def gated(rows: Sequence[Row]) -> list[str]:
    """Returns the precisions in which some row has a limit."""
    return [name for name in precisions(rows) if any(name in row.limits for row in rows)]
