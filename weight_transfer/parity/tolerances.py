"""The one table of tolerances. Every figure was measured; docs/parity.md says how.

An error is max|actual - expected| / max|expected| of a whole tensor, against Keras in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weight_transfer.parity.report import Check


@dataclass(frozen=True)
class Tolerance:
    """What one tensor may differ by.

    Attributes:
        error: Largest error allowed, where the reference's own error does not allow more.
        noise_factor: The error may be this many times the reference's own error in this precision. At
            the logits it may not be more; None where the reference is the truth.
        noise_floor: The reference's error counts as at least this, eight units in the last place
            of the peak: a reference that is right by luck asks nothing impossible.
    """

    error: float
    noise_factor: float | None = None
    noise_floor: float = 0.0

    def limit(self, noise: float | None, *, at_the_logits: bool = False) -> float:
        """What the error may be of a tensor whose reference has this error itself."""
        if self.noise_factor is None or noise is None:
            return self.error
        own = self.noise_factor * max(noise, self.noise_floor)
        return own if at_the_logits else max(self.error, own)


# Where an error is beyond its gate, the port is run again with its layers rounded otherwise; it may be so many times as
# far from Keras as that moves it. Exact runs and single layers have no such gate.
ROUNDING_FACTOR = 30.0

# A correct port: 2e-15 to 4e-15 in float64 and 1.1e-6 in float32 at the worst of 19 taps of a
# ResNet-50, no more at 152 layers. Epsilon 1e-5 for 1.001e-5 costs 1e-8 and up. A network that
# amplifies rounding errors beyond 1e-5 does so in Keras too: there Keras's own error is the gate.
# In training mode each batch norm divides by what it has just measured, and rounding grows from layer
# to layer. Precisions that are not here (TF32, bfloat16) are reported and never gate.
# Exact runs: where a layer's arithmetic rounds nothing, nothing may differ, whatever stands here. A softmax, a tanh, a
# group norm is at most 5 units in the last place of the peak away, 1.1e-15; a training step of one layer, 40 units.
TOLERANCES: Mapping[Check, Mapping[str, Tolerance]] = {
    # The owner's own calls, in the precision of the model. In training each batch norm divides by what it has just
    # measured, in float32: 1.3e-7 to 2e-6 was seen of outputs, 2e-6 of statistics on the scale of what was averaged.
    # A MobileNetV2 that nobody trained moves by 3e-4 to 0.2 when a last bit of its inputs does: that is its own error.
    "predict": {"float32": Tolerance(error=1e-5, noise_factor=3.0, noise_floor=2**-20)},
    "training call": {"float32": Tolerance(error=1e-4, noise_factor=30.0)},
    "moved statistics": {"float32": Tolerance(error=1e-3, noise_factor=30.0)},
    # One train_on_batch. A loss is a mean; a weight of size 1 that moves by 1e-4 is stored to 1e-3 of that.
    "trained loss": {"float32": Tolerance(error=1e-5, noise_factor=30.0)},
    "trained weights": {"float32": Tolerance(error=1e-3, noise_factor=30.0)},
    "exact": {"float64": Tolerance(error=1e-12)},
    "local output": {"float64": Tolerance(error=1e-12)},
    "local gradient": {"float64": Tolerance(error=1e-12)},
    "local statistics": {"float64": Tolerance(error=1e-12)},
    "inference": {
        "float64": Tolerance(error=1e-12),
        "float32": Tolerance(error=1e-5, noise_factor=3.0, noise_floor=2**-20),
    },
    "training": {"float64": Tolerance(error=1e-10)},
    "loss": {"float64": Tolerance(error=1e-12)},
    "gradient": {"float64": Tolerance(error=1e-10)},
    "statistics": {"float64": Tolerance(error=1e-12)},
    # A training run: each step starts from what the last one made of rounding errors.
    "step": {"float64": Tolerance(error=1e-9)},
    "weights": {"float64": Tolerance(error=1e-9)},
    "slots": {"float64": Tolerance(error=1e-9)},
    "moving": {"float64": Tolerance(error=1e-9)},
}
