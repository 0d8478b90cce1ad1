"""Keras's losses of a regression: means of differences over the outputs of a sample."""

from __future__ import annotations

from torch import Tensor

from resnet_torch.losses.loss import Loss, same_shape


class MeanSquaredError(Loss):
    """``mean((outputs - target) ** 2)`` over the outputs, for a target of their shape; arguments as of `Loss`."""

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...)."""
        return (outputs - same_shape(target, outputs, self.axis)).square().mean(self.axis)


class MeanAbsoluteError(Loss):
    """``mean(|outputs - target|)`` over the outputs, for a target of their shape; arguments as of `Loss`."""

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Returns (N,) or (N, ...)."""
        return (outputs - same_shape(target, outputs, self.axis)).abs().mean(self.axis)
