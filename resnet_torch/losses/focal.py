"""Keras's focal losses: cross-entropies in which what is already right counts less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from resnet_torch.losses.cross_entropy import (
    binary_losses,
    checked_smoothing,
    classes_second,
    normalized,
    probabilities,
    smoothed_binary,
)
from resnet_torch.losses.loss import Activation, Loss, Reduction, same_shape


class CategoricalFocalCrossentropy(Loss):
    """``-sum(alpha * (1 - p) ** gamma * target * log(p))``, with the targets of `CategoricalCrossentropy`.

    Args:
        alpha: Weight of all classes, or one of each.
        gamma: How much less.
        from_logits: Whether the outputs are logits. Either way the probabilities are kept off 0 and 1.
        label_smoothing: See `CategoricalCrossentropy`.
        reduction: See `Loss`.
        class_weight: See `Loss`.
        axis: See `Loss`.
        activation: See `Loss`.

    Source: Lin et al. 2017 (arXiv:1708.02002), equation 5; Keras 3.15.1 keras/src/losses/losses.py,
    categorical_focal_crossentropy.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        reduction: Reduction | None = "sum_over_batch_size",
        class_weight: Mapping[int, float] | None = None,
        axis: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(reduction, class_weight, axis, activation)
        self.alpha = alpha
        self.gamma = gamma
        self.from_logits = from_logits
        self.label_smoothing = checked_smoothing(label_smoothing)

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...)."""
        outputs, target = outputs.movedim(self.axis, 1), classes_second(target, outputs, self.axis)
        smoothed = probabilities(target, outputs, self.label_smoothing)
        p = normalized(outputs.softmax(1) if self.from_logits else outputs)
        return -(self._alpha(outputs) * (1 - p) ** self.gamma * smoothed * p.log()).sum(1)

    def _alpha(self, outputs: Tensor) -> float | Tensor:
        if isinstance(self.alpha, float | int):
            return self.alpha
        # Keras makes float32 of a list, whatever the outputs are.
        each = torch.tensor(self.alpha, dtype=torch.float32, device=outputs.device).to(outputs.dtype)
        return each.reshape(-1, *[1] * (outputs.ndim - 2))


class BinaryFocalCrossentropy(Loss):
    """Binary cross-entropy of each output times ``(1 - p_t) ** gamma``, then the mean over them.

    Args:
        apply_class_balancing: Whether to weight a target of 1 with ``alpha``, one of 0 with ``1 - alpha``.
        alpha: Weight of a target of 1.
        gamma: How much less what is already right counts.
        from_logits: Whether the outputs are logits.
        label_smoothing: See `BinaryCrossentropy`.
        reduction: See `Loss`.
        class_weight: See `Loss`.
        axis: See `Loss`.
        activation: See `Loss`.
        factor_of: What is applied to the logits, one behind the other, to take the factor of it: Keras 2 takes it
            from what the model gives, and the cross-entropy from the logits. Empty for the sigmoid.

    Source: as of `CategoricalFocalCrossentropy`, binary_focal_crossentropy; TensorFlow goes back from a
    sigmoid to its logits. ``factor_of``: tf_keras 2.21 backend.py, binary_focal_crossentropy.
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        reduction: Reduction | None = "sum_over_batch_size",
        class_weight: Mapping[int, float] | None = None,
        axis: int = 1,
        activation: Activation | None = None,
        factor_of: Sequence[Activation] = (),
    ) -> None:
        super().__init__(reduction, class_weight, axis, activation)
        self.factor_of = tuple(factor_of)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma
        self.from_logits = from_logits
        self.label_smoothing = checked_smoothing(label_smoothing)

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...)."""
        target = smoothed_binary(same_shape(target, outputs, self.axis), self.label_smoothing)
        p = outputs.sigmoid() if self.from_logits and not self.factor_of else outputs
        for name in self.factor_of:
            p = p.softmax(self.axis) if name == "softmax" else p.sigmoid()
        p_target = target * p + (1 - target) * (1 - p)
        losses = (1 - p_target) ** self.gamma * binary_losses(outputs, target, self.from_logits)
        if self.apply_class_balancing:
            losses = (target * self.alpha + (1 - target) * (1 - self.alpha)) * losses
        return losses.mean(self.axis)
