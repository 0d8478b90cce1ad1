"""What Keras's losses share: from one number per sample, weighted, to the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from weight_transfer.errors import TransferError

Reduction: TypeAlias = Literal["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none"]
Activation: TypeAlias = Literal["softmax", "sigmoid"]
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")

# What Keras adds to or keeps away from zero. Source: Keras 3.15.1 keras/src/backend/config.py, epsilon.
EPSILON = 1e-7


class Loss(nn.Module):
    """The part of a loss that does not depend on its formula; a formula is a subclass.

    The one difference to remember: weights, of samples or classes, change the sum but not what it is
    divided by, which is the number of losses. PyTorch's ``weight`` divides by the sum of the weights.

    Args:
        reduction: ``sum_over_batch_size`` and ``mean`` divide the sum of the losses by their number,
            ``mean_with_sample_weight`` by the sum of the sample weights where there are any; ``sum``
            does not divide; ``none`` gives (N,), or (N, ...) for outputs with positions.
        class_weight: Weight of a sample by its class; 1 for a class that is not in it.
        axis: Of the classes: 1 for (N, K) and (N, K, ...), which Keras has as (N, ..., K).
        activation: What to apply to the outputs first: what a model's ``forward`` leaves out, where the
            loss does not take the logits.

    Raises:
        TransferError: There is no such reduction.

    Source: Keras 3.15.1 keras/src/losses/loss.py, reduce_weighted_values; class weights:
    keras/src/trainers/data_adapters/data_adapter_utils.py, class_weight_to_sample_weights.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        class_weight: Mapping[int, float] | None = None,
        axis: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        self.reduction: str = "none" if reduction is None else reduction
        if self.reduction not in REDUCTIONS:
            raise TransferError(f"reduction must be one of {', '.join(REDUCTIONS)}. Received: reduction={reduction!r}")
        self.class_weight = None if class_weight is None else {int(key): float(w) for key, w in class_weight.items()}
        self.axis = axis
        self.activation: str | None = activation

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One loss per sample (and position), without the axis of the classes."""
        raise NotImplementedError

    def valid(self, target: Tensor) -> Tensor | None:
        """Which of `losses` count at all, or None for all."""
        return None

    def forward(self, outputs: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Computes the loss, in the outputs' dtype, half precision in float32.

        Args:
            outputs: (N, K) or (N, K, ...).
            target: See the loss.
            sample_weight: (N,), or (N, ...) for outputs with positions.

        Returns:
            A scalar, or all losses where ``reduction`` is ``none``.

        Raises:
            TransferError: The shapes do not fit, or there are weights of classes and of samples.
        """
        if outputs.dtype in (torch.float16, torch.bfloat16):
            outputs = outputs.float()
        if self.activation is not None:
            outputs = outputs.softmax(self.axis) if self.activation == "softmax" else outputs.sigmoid()
        losses = self.losses(outputs, target)
        weight = sample_weight
        if self.class_weight is not None:
            if sample_weight is not None:
                raise TransferError("The loss has a class_weight and was given a sample_weight. Use one of them.")
            weight = self._of_classes(outputs, target)
        return self._reduced(losses, weight, self.valid(target))

    def extra_repr(self) -> str:
        """Shows what the loss was built with."""
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)

    def _of_classes(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Each sample's weight by its class."""
        numbers = target
        if target.ndim > 1:
            numbers = target.squeeze(1) if target.shape[1] == 1 else target.argmax(1)
        if numbers.ndim != 1 or outputs.ndim > 2:
            raise TransferError(
                "class_weight needs one class per sample. Pass a sample_weight for every position instead. "
                f"Received: a target of shape {tuple(target.shape)}"
            )
        classes = numbers.round().tolist()
        weights = [(self.class_weight or {}).get(int(number), 1.0) for number in classes]
        return torch.tensor(weights, dtype=outputs.dtype, device=outputs.device)

    def _reduced(self, losses: Tensor, weight: Tensor | None, valid: Tensor | None) -> Tensor:
        mean = self.reduction in ("sum_over_batch_size", "mean")
        if valid is not None:
            counted = valid.to(losses.dtype)
            if mean:  # so that the mean is over the valid ones
                counted = counted * (valid.numel() / valid.sum().clamp(min=1))
            weight = counted if weight is None else _times(counted, weight.to(losses))
        if weight is not None:
            weight = weight.to(losses)
            losses = _times(losses, weight)
        if self.reduction == "none" or losses.ndim == 0:
            return losses
        if self.reduction == "sum":
            return losses.sum()
        if mean or weight is None:
            return losses.sum() / max(losses.numel(), 1)
        total = weight.sum()
        # Keras gives 0 for weights that sum to 0.
        return losses.sum() / torch.where(total == 0, 1, total) * (total != 0)


def same_shape(target: Tensor, outputs: Tensor, axis: int) -> Tensor:
    """The target in the outputs' dtype; (N,) for (N, 1) outputs gets the axis that it lacks.

    Raises:
        TransferError: It has another shape.
    """
    if target.ndim == outputs.ndim - 1 and outputs.shape[axis] == 1:
        target = target.unsqueeze(axis)
    if target.shape != outputs.shape:
        raise _unfit(target, outputs, "the same shape")
    return target.to(outputs.dtype)


def class_numbers(target: Tensor, outputs: Tensor, axis: int) -> Tensor:
    """The target as class numbers (N,) or (N, ...), an axis of length 1 left out.

    Raises:
        TransferError: It has another shape.
    """
    if target.ndim == outputs.ndim and target.shape[axis] == 1:
        target = target.squeeze(axis)
    expected = list(outputs.shape)
    del expected[axis]
    if list(target.shape) != expected:
        raise _unfit(target, outputs, f"class numbers of shape {tuple(expected)}")
    return target.long()


def _unfit(target: Tensor, outputs: Tensor, expected: str) -> TransferError:
    return TransferError(
        f"The target does not fit the outputs of shape {tuple(outputs.shape)}. Expected {expected}. "
        f"Received: {target.dtype} of shape {tuple(target.shape)}"
    )


def _same_rank(losses: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Adds or drops a last axis of length 1 where the ranks differ by one, as Keras does."""
    if weight.ndim == losses.ndim + 1 and weight.shape[-1] == 1:
        return (losses.unsqueeze(-1), weight) if losses.ndim == 1 else (losses, weight.squeeze(-1))
    if losses.ndim == weight.ndim + 1 and losses.shape[-1] == 1:
        return (losses, weight.unsqueeze(-1)) if weight.ndim == 1 else (losses.squeeze(-1), weight)
    return losses, weight


def _times(losses: Tensor, weight: Tensor) -> Tensor:
    losses, weight = _same_rank(losses, weight)
    fits = weight.ndim in (0, losses.ndim) and all(
        n in (1, expected) for n, expected in zip(weight.shape, losses.shape[: weight.ndim], strict=True)
    )
    if not fits:
        raise TransferError(
            f"sample_weight must have the shape of the losses, {tuple(losses.shape)}, or 1 in place of a number. "
            f"Received: shape {tuple(weight.shape)}"
        )
    return losses * weight
