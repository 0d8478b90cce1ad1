"""The one measure of difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TapError:
    """How far one tensor is from its reference.

    Attributes:
        error: max|actual - expected| / peak; infinite where a number is missing or not finite, or
            the shapes differ.
        peak: max|expected|.
        shape: Of the reference.
        where: Index of the largest difference, where one element can be named.
    """

    error: float
    peak: float
    shape: tuple[int, ...]
    where: tuple[int, ...] | None = None


def tap_error(actual: npt.NDArray[Any], expected: npt.NDArray[Any], peak: float | None = None) -> TapError:
    """Compares a tensor with its reference, in float64.

    Elementwise relative error explodes near the zeros of a ReLU (2100% in a correct port), so the
    difference is measured against the tensor's peak.

    Args:
        actual: The port's.
        expected: The reference's.
        peak: What to measure against; by default max|expected|.
    """
    expected = expected.astype(np.float64, copy=False)
    if peak is None:
        peak = float(np.max(np.abs(expected), initial=0.0))
    if actual.shape != expected.shape or not np.isfinite(peak):
        return TapError(float("inf"), peak, expected.shape)
    differences = np.abs(actual.astype(np.float64) - expected)
    difference = float(np.max(differences, initial=0.0))
    if difference == 0.0:
        return TapError(0.0, peak, expected.shape)
    worst = int(np.argmax(differences))  # the first nan, if there is one
    where = tuple(int(index) for index in np.unravel_index(worst, expected.shape))
    if not np.isfinite(difference) or not peak:
        return TapError(float("inf"), peak, expected.shape, where)
    return TapError(difference / peak, peak, expected.shape, where)
