"""The one table of tolerances. Every figure was measured; docs/parity.md says how.

An error is max|actual - expected| / max|expected| of a whole tensor, against Keras in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """What one tap may differ by.

    Attributes:
        error: Largest error allowed, where the reference's own error does not allow more.
        noise_factor: The error may be this many times the reference's own error in this dtype. At
            the logits it may not be more; None for dtypes in which the reference is the truth.
        noise_floor: The reference's error counts as at least this, eight units in the last place
            of the peak: a reference that is right by luck asks nothing impossible.
    """

    error: float
    noise_factor: float | None = None
    noise_floor: float = 0.0


# A correct port: 2e-15 to 4e-15 in float64 and 1.1e-6 in float32 at the worst of 19 taps of a
# ResNet-50, no more at 152 layers. Epsilon 1e-5 for 1.001e-5 costs 1e-8 and up. A network that
# amplifies rounding errors beyond 1e-5 does so in Keras too: there Keras's own error is the gate.
TOLERANCES: Mapping[str, Tolerance] = {
    "float64": Tolerance(error=1e-12),
    "float32": Tolerance(error=1e-5, noise_factor=1.5, noise_floor=2**-20),
}
