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
        error: max|actual - expected| / max|expected|; infinite where a number is missing or not
            finite, or the shapes differ.
        peak: max|expected|.
        shape: Of the reference.
    """

    error: float
    peak: float
    shape: tuple[int, ...]


def tap_error(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> TapError:
    """Compares a tensor with its reference, in float64.

    Elementwise relative error explodes near the zeros of a ReLU (2100% in a correct port), so the
    difference is measured against the tensor's peak.
    """
    expected = expected.astype(np.float64, copy=False)
    peak = float(np.max(np.abs(expected), initial=0.0))
    if actual.shape != expected.shape or not np.isfinite(peak):
        return TapError(float("inf"), peak, expected.shape)
    difference = float(np.max(np.abs(actual.astype(np.float64) - expected), initial=0.0))
    if not np.isfinite(difference):
        difference = float("inf")
    if difference == 0.0:
        return TapError(0.0, peak, expected.shape)
    return TapError(difference / peak if peak else float("inf"), peak, expected.shape)
