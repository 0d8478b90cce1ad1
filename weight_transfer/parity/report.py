"""What a verification found. Plain data: only a command line prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TapRow:
    """One layer's output, over all inputs, on one device.

    Attributes:
        tap: Keras layer name, or ``output`` for what the model returns.
        device: ``cpu`` or ``cuda``.
        shape: Of the reference for the first input, channels last.
        peak: max|reference| over all inputs.
        errors: By dtype, the largest error over all inputs.
        noise: The reference's own float32 error, the largest over all inputs.
        limits: By dtype, what the error may be.
    """

    tap: str
    device: str
    shape: tuple[int, ...]
    peak: float
    errors: dict[str, float]
    noise: float
    limits: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether every error is within its limit. An all-zero reference proves nothing and fails."""
        return self.peak > 0 and all(self.errors[dtype] <= limit for dtype, limit in self.limits.items())


@dataclass(frozen=True)
class Verification:
    """The whole comparison.

    Attributes:
        source: The Keras checkpoint.
        reference: ``file`` where Keras itself loaded the model from the file, ``twin`` where our
            Keras twin took its weights.
        loaded_by: The reference in words.
        converted: The port.
        inputs: What both were shown, in words.
        rows: In network order, device by device.
        weights_equal: Arrays bit-equal on both sides.
        weights_total: Arrays in all.
        assumed: What the file does not show.
        frameworks: Versions.
    """

    source: str
    reference: str
    loaded_by: str
    converted: str
    inputs: tuple[str, ...]
    rows: tuple[TapRow, ...]
    weights_equal: int
    weights_total: int
    weights_differing: tuple[str, ...]
    assumed: tuple[str, ...]
    frameworks: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every tap agrees and every array is bit-equal."""
        return self.weights_equal == self.weights_total and all(row.passed for row in self.rows)

    @property
    def first_divergence(self) -> TapRow | None:
        """The first tap in network order that does not agree."""
        return next((row for row in self.rows if not row.passed), None)

    def worst(self, dtype: str) -> TapRow:
        """The tap with the largest error in a dtype."""
        return max(self.rows, key=lambda row: row.errors[dtype])

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON can hold it."""
        rows: Sequence[dict[str, Any]] = [{**asdict(row), "passed": row.passed} for row in self.rows]
        return {**asdict(self), "rows": rows, "passed": self.passed}
