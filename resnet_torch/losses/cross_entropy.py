"""Keras's cross-entropies, on logits or on probabilities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_torch.losses.loss import EPSILON, Activation, Loss, Reduction, class_numbers, same_shape
from weight_transfer.errors import TransferError


class CategoricalCrossentropy(Loss):
    """Cross-entropy with one probability per class: ``-sum(target * log_softmax(outputs))``.

    The target is (N, K) probabilities, such as one-hot, or in PyTorch's way (N,) whole numbers, which stand
    for one-hot. Outputs with positions, (N, K, ...), have a target of that shape or (N, ...).

    Args:
        from_logits: Whether the outputs are logits, as our models' ``forward`` gives them. From
            probabilities, as Keras's own default, they are divided by their sum and kept off 0 and 1.
        label_smoothing: ``s`` of ``target * (1 - s) + s / K``.
        reduction: See `Loss`.
        class_weight: See `Loss`.
        axis: See `Loss`.
        activation: See `Loss`.

    Source: Keras 3.15.1 keras/src/losses/losses.py and keras/src/backend/tensorflow/nn.py, categorical_crossentropy.
    """

    def __init__(
        self,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        reduction: Reduction | None = "sum_over_batch_size",
        class_weight: Mapping[int, float] | None = None,
        axis: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(reduction, class_weight, axis, activation)
        self.from_logits = from_logits
        self.label_smoothing = checked_smoothing(label_smoothing)

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...)."""
        outputs, target = outputs.movedim(self.axis, 1), classes_second(target, outputs, self.axis)
        if self.from_logits and not target.is_floating_point():
            return F.cross_entropy(outputs, target, reduction="none", label_smoothing=self.label_smoothing)
        smoothed = probabilities(target, outputs, self.label_smoothing)
        if self.from_logits:
            return F.cross_entropy(outputs, smoothed, reduction="none")
        return -(smoothed * normalized(outputs).log()).sum(1)


class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy with class numbers, (N,) or (N, 1), for (N, K) outputs; (N, ...) for (N, K, ...).

    Args:
        from_logits: Whether the outputs are logits; probabilities are kept off 0 and 1.
        ignore_class: Class of samples (or positions) that do not count.
        reduction: See `Loss`.
        class_weight: See `Loss`.
        axis: See `Loss`.
        activation: See `Loss`.

    Source: as of `CategoricalCrossentropy`, sparse_categorical_crossentropy.
    """

    def __init__(
        self,
        from_logits: bool = True,
        ignore_class: int | None = None,
        reduction: Reduction | None = "sum_over_batch_size",
        class_weight: Mapping[int, float] | None = None,
        axis: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(reduction, class_weight, axis, activation)
        self.from_logits = from_logits
        self.ignore_class = ignore_class

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...), 0 for what is ignored."""
        outputs, numbers = outputs.movedim(self.axis, 1), class_numbers(target, outputs, self.axis)
        if not self.from_logits:
            outputs = outputs.clamp(EPSILON, 1 - EPSILON).log()
        ignored = -100 if self.ignore_class is None else self.ignore_class
        return F.cross_entropy(outputs, numbers, reduction="none", ignore_index=ignored)

    def valid(self, target: Tensor) -> Tensor | None:
        """Which samples (or positions) count."""
        if self.ignore_class is None:
            return None
        numbers = target.squeeze(self.axis) if target.ndim > 1 and target.shape[self.axis] == 1 else target
        return numbers != self.ignore_class


class BinaryCrossentropy(Loss):
    """Cross-entropy of each output by itself, then the mean over them: the target is (N, K), or (N,) for (N, 1).

    Args:
        from_logits: Whether the outputs are logits; probabilities are kept off 0 and 1.
        label_smoothing: ``s`` of ``target * (1 - s) + s / 2``.
        reduction: See `Loss`.
        class_weight: See `Loss`; of several outputs, the class is the largest target's.
        axis: See `Loss`.
        activation: See `Loss`.

    Source: as of `CategoricalCrossentropy`, binary_crossentropy.
    """

    def __init__(
        self,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        reduction: Reduction | None = "sum_over_batch_size",
        class_weight: Mapping[int, float] | None = None,
        axis: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(reduction, class_weight, axis, activation)
        self.from_logits = from_logits
        self.label_smoothing = checked_smoothing(label_smoothing)

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...)."""
        target = smoothed_binary(same_shape(target, outputs, self.axis), self.label_smoothing)
        return binary_losses(outputs, target, self.from_logits).mean(self.axis)


def binary_losses(outputs: Tensor, target: Tensor, from_logits: bool) -> Tensor:
    """Binary cross-entropy of every output."""
    if from_logits:
        return F.binary_cross_entropy_with_logits(outputs, target, reduction="none")
    outputs = outputs.clamp(EPSILON, 1 - EPSILON)
    return -(target * outputs.log() + (1 - target) * (1 - outputs).log())


def smoothed_binary(target: Tensor, label_smoothing: float) -> Tensor:
    """Moves the target towards one half."""
    return target * (1 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else target


def probabilities(target: Tensor, outputs: Tensor, label_smoothing: float) -> Tensor:
    """The target as (N, K, ...) probabilities in the outputs' dtype, moved towards ``1 / K``."""
    if not target.is_floating_point():
        target = F.one_hot(target, outputs.shape[1]).movedim(-1, 1)
    target = target.to(outputs.dtype)
    return target * (1 - label_smoothing) + label_smoothing / outputs.shape[1] if label_smoothing else target


def normalized(outputs: Tensor) -> Tensor:
    """Probabilities along axis 1 that sum to 1, kept off 0 and 1."""
    return (outputs / outputs.sum(1, keepdim=True)).clamp(EPSILON, 1 - EPSILON)


def checked_smoothing(label_smoothing: float) -> float:
    """Returns it, if it lies in 0..1.

    Raises:
        TransferError: It does not.
    """
    if not 0 <= label_smoothing <= 1:
        raise TransferError(f"label_smoothing must lie in 0..1. Received: label_smoothing={label_smoothing}")
    return label_smoothing


def classes_second(target: Tensor, outputs: Tensor, axis: int) -> Tensor:
    """Probabilities (N, K, ...), or class numbers (N, ...)."""
    if target.ndim < outputs.ndim and not target.is_floating_point() and target.dtype != torch.bool:
        return class_numbers(target, outputs, axis)
    return same_shape(target, outputs, axis).movedim(axis, 1)
