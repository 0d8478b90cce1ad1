"""Batch norm that learns as Keras's: its moving variance, and its way of being frozen."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.channels import along_channels, in_one_format
from resnet_torch.moving_variance import Increment, increment_factor, increment_of
from resnet_torch.synchronized_step import several_processes, synchronized_step
from weight_transfer.description import MovingVariance


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with the two things in which Keras differs in training.

    The output is PyTorch's own, and so are the names in the state dict.

    Args:
        num_features: Channels.
        eps: Added to the variance.
        momentum: Share of the new statistic that one training step takes: 1 - Keras's momentum.
        moving_variance: What a step adds to the moving variance: the batch's biased variance
            (``keras3``), its unbiased one (``tf_keras``, whose kernel is fused like PyTorch's), or what
            the Kerases of several backends made of that (``keras2``), as `moving_variance` says.

    Attributes:
        frozen: Whether to stay in inference mode whatever `train` says, as a Keras layer with
            ``trainable=False`` does. PyTorch's ``requires_grad=False`` alone leaves the moving
            statistics moving.
        synchronized: Whether to take the statistics over the batches of all processes, as a Keras
            layer with ``synchronized=True``; nothing with one process.

    Source: keras/src/layers/normalization/batch_normalization.py, call; tf_keras
    layers/normalization/batch_normalization.py, _fused_batch_norm.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-3,
        momentum: float = 0.01,
        moving_variance: MovingVariance = "keras3",
    ) -> None:
        super().__init__(num_features, eps, momentum)
        self.moving_variance = moving_variance
        self.frozen = False
        self.synchronized = False

    def train(self, mode: bool = True) -> BatchNorm2d:
        """Sets training mode, except where the layer is frozen."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes (N, C, H, W): by its own statistics in training, by the moving ones in inference."""
        moving = (self.running_mean, self.running_var)
        if not self.training:
            return batch_norm(x, *moving, self.weight, self.bias, False, self.momentum, self.eps)
        increment = increment_of(self.moving_variance, fused=True, images=True)
        return self.training_step(
            x, *moving, self.num_batches_tracked, self.weight, self.bias, self.momentum, self.eps, increment
        )

    @property
    def training_step(self) -> Callable[..., Tensor]:
        """`training_step`, or `synchronized_step` where there are other processes to do it with."""
        return synchronized_step if self.synchronized and several_processes() else training_step

    def extra_repr(self) -> str:
        """Shows the rule in the printed module."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum:g}, "
            f"moving_variance={self.moving_variance!r}, frozen={self.frozen}"
        )

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        # Keras counts no batches, and with a fixed momentum nothing here reads the count.
        state_dict.setdefault(f"{prefix}num_batches_tracked", torch.tensor(0))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def set_trainable(module: nn.Module, trainable: bool, training: bool) -> None:
    """Lets a module learn or not, as Keras's ``trainable`` does: its parameters, and the mode of its batch norms.

    Args:
        module: With all that it holds.
        trainable: Whether it learns.
        training: The mode of the model that it is part of, for batch norms that learn again.
    """
    module.requires_grad_(trainable)
    for norm in (one for one in module.modules() if isinstance(one, BatchNorm2d)):
        norm.frozen = not trainable
        norm.train(training)


def synchronize_batch_norms(model: nn.Module, synchronized: bool = True) -> int:
    """Makes every batch norm of a model take its statistics over the batches of all processes.

    The modules stay what they are, and so does the state dict. Each keeps its rule for the moving
    variance, so that several processes learn what one with the whole batch learns. (A tf_keras
    layer with ``synchronized=True`` is not fused, and learns by the rule ``keras3``.)

    Args:
        model: Any module.
        synchronized: False undoes it.

    Returns:
        How many batch norms there are.

    Example:
        >>> synchronize_batch_norms(resnet50())
        53
    """
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:
        norm.synchronized = synchronized
    return len(norms)


@torch.fx.wrap  # one node of a traced graph: what happens inside depends on the shape
@torch.fx.wrap  # one node of a traced graph: what happens inside depends on the size
def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, with gradients that do not depend on how tensors lie in memory."""
    flat = in_one_format(x)
    return F.batch_norm(flat, running_mean, running_var, weight, bias, training, momentum, eps).reshape(x.shape)


@torch.fx.wrap  # one node of a traced graph: tracing must not move the statistics
def training_step(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
    increment: Increment,
) -> Tensor:
    """Normalizes (N, C, ...) by its own mean and variance, and moves the statistics in place.

    Args:
        x: Input.
        running_mean: (C,), changed.
        running_var: (C,), changed.
        num_batches_tracked: (), changed.
        weight: Gamma, (C,).
        bias: Beta, (C,).
        momentum: Share of the new statistic.
        eps: Added to the variance.
        increment: What of the batch's variance goes into ``running_var``.

    Returns:
        Like ``x``.
    """
    num_batches_tracked.add_(1)
    n = x.numel() // x.shape[1]
    if n == 0:  # a process whose part of the last batch is empty: nothing moves, every gradient is 0
        return (x * along_channels(weight, x) + along_channels(bias, x)).to(x.dtype)
    if n == 1:
        return _single_value(x, running_mean, running_var, weight, bias, momentum)
    if increment == "unbiased":
        return batch_norm(x, running_mean, running_var, weight, bias, True, momentum, eps)
    # The kernel adds momentum * n / (n - 1) * variance. It gets an empty vector to add it to,
    # because autograd keeps the vector it is given, and would refuse one that is changed afterwards.
    added = torch.zeros_like(running_var)
    y = batch_norm(x, running_mean, added, weight, bias, True, momentum, eps)
    running_var.mul_(1 - momentum).add_(added, alpha=(n - 1) / n * increment_factor(increment, n, eps))
    return y


def _single_value(
    x: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor, bias: Tensor, momentum: float
) -> Tensor:
    """A step on one value per channel, its own mean with variance 0.

    PyTorch refuses it. Keras goes on, and may have to: a last batch of one 32 x 32 image is one
    value per channel in stage 5.
    """
    running_mean.lerp_(x.detach().flatten().to(running_mean.dtype), momentum)
    running_var.mul_(1 - momentum)
    nothing = x - x  # not zeros: its gradient is zero, where that of a constant would be missing
    return (nothing * along_channels(weight, x) + along_channels(bias, x)).to(x.dtype)
