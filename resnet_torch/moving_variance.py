"""What a training step adds to a batch norm's moving variance, by the Keras that it learns like."""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import Tensor

from weight_transfer.description import MovingVariance

# How the batch's variance, divided by n, goes into the moving one: as it is; times n / (n - 1); times what Keras 2
# puts on it; times both.
Increment = Literal["biased", "unbiased", "keras2", "keras2 fused"]
Count = TypeVar("Count", float, Tensor)


def increment_of(rule: MovingVariance, fused: bool, images: bool) -> Increment:
    """Returns what a batch norm adds.

    Args:
        rule: Of its Keras.
        fused: Whether TensorFlow has a fused kernel for its tensors, which gives the unbiased variance.
        images: Whether its tensors have four axes; Keras 2 uses the fused kernel for no others.
    """
    if rule == "keras2":
        return "keras2 fused" if fused and images else "keras2"
    return "unbiased" if rule == "tf_keras" and fused else "biased"


def increment_factor(increment: Increment, n: Count, eps: float) -> Count:
    """Returns by what the batch's biased variance is multiplied.

    Args:
        increment: From `increment_of`.
        n: How many values each channel has in the batch, more than one.
        eps: The batch norm's.

    Source: Keras 2.1.4 to 2.3.1 keras/layers/normalization.py, call: ``variance *= sample_size / (sample_size - (1.0 +
        self.epsilon))``, on what tensorflow_backend.py, normalize_batch_in_training, gives: of four axes
        tf.nn.fused_batch_norm's variance, which is unbiased already (TensorFlow 1; 2.3 on TensorFlow 2 left that out).
    """
    factor = n / n
    if increment in ("unbiased", "keras2 fused"):
        factor = n / (n - 1)
    if increment in ("keras2", "keras2 fused"):
        factor = factor * n / (n - (1.0 + eps))
    return factor
