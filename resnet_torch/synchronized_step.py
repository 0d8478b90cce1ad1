"""A batch norm's training step over the batches of all processes, as Keras's ``synchronized=True``.

`torch.nn.SyncBatchNorm` refuses the CPU and knows neither Keras's moving variance nor its frozen layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from resnet_torch.channels import along_channels, in_one_format
from resnet_torch.moving_variance import Increment, increment_factor


def several_processes() -> bool:
    """Whether this is one of several processes that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.fx.wrap  # as training_step: tracing must not move the statistics
# Compiled, processes with other batch sizes would each order their collectives anew. Not torch.compiler.disable, which
# imports the compiler here and now: 1.6 s, and Triton, which crashes in a process that has TensorFlow.
@torch._disable_dynamo  # type: ignore[attr-defined]
def synchronized_step(
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
    """Does what `resnet_torch.batch_norm.training_step` does, with the batches of all processes as one.

    Every process of the default group must call it, one without images with a batch of 0. The
    gradients are those of the sum of the processes' losses.

    Args:
        x: This process's part of the batch, (N, C, ...); N may differ from process to process.
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

    Source: keras/src/backend/tensorflow/nn.py, _compute_moments_sync, with the parallel algorithm of
    Chan, Golub and LeVeque (1979) for the variance: E[x^2] - E[x]^2 cancels in float32.
    """
    y, mean, var, count = _NormalizedTogether.apply(in_one_format(x), weight, bias, running_mean.dtype, eps)
    num_batches_tracked.add_(1)
    running_mean.lerp_(mean, momentum)
    factor = increment_factor(increment, count.clamp(min=2), eps)  # of one value the variance is 0 whatever the factor
    running_var.mul_(1 - momentum).add_(var * factor.to(var.dtype), alpha=momentum)
    return y.reshape(x.shape)  # type: ignore[no-any-return]


class _NormalizedTogether(torch.autograd.Function):
    """From a process's (N, C, ...) to it normalized, and mean, variance and count per channel of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, var, count = _moments_of_all(x, dtype)
        y = F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps) if x.numel() else torch.empty_like(x)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.mark_non_differentiable(mean, var, count)
        ctx.eps = eps
        return y, mean, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        x, weight, mean, var, count = ctx.saved_tensors
        if x.numel():
            inference = (dy, x, weight, mean, var, None, None, False, ctx.eps, [False, True, True])
            _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(*inference)
        else:
            d_weight = d_bias = torch.zeros_like(weight)
        if not ctx.needs_input_grad[0]:  # the same in every process
            return None, d_weight, d_bias, None, None
        sums = torch.stack([d_weight, d_bias]).to(count.dtype)
        dist.all_reduce(sums)
        slope, shift = (sums / count).to(mean.dtype)
        inverse = (var + ctx.eps).rsqrt()
        # The derivative for fixed statistics, less what their own derivatives take off it.
        d_x = dy - along_channels(shift, x) - (x - along_channels(mean, x)) * along_channels(slope * inverse, x)
        return (d_x * along_channels(weight * inverse, x)).to(x.dtype), d_weight, d_bias, None, None


def _moments_of_all(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and biased variance (C,) of all processes' (N, C, ...), and the count of values per channel.

    Every process computes the same bits. A batch without values counts for nothing.
    """
    channels = x.shape[1]
    count = x.numel() // channels
    own = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)  # holds any count exactly
    if count:
        var, mean = torch.var_mean(x.to(dtype), (0, *range(2, x.dim())), correction=0)
        own[:channels], own[channels:-1], own[-1] = mean, var * count, count
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    gathered = torch.stack(parts)
    means, squares, counts = gathered[:, :channels], gathered[:, channels:-1], gathered[:, -1:]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    var = (squares + counts * (means - mean).square()).sum(0) / total
    return mean.to(dtype), var.to(dtype), total
