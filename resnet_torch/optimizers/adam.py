"""Keras's Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from typing_extensions import Unpack, override

from resnet_torch.optimizers.bucket import Bucket, Number, through_float32
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters, Shared, SharedBesidesDecay
from weight_transfer.errors import TransferError


class Adam(KerasOptimizer):
    """Adam with epsilon where Keras has it, outside the correction of the bias.

    With t the step, counted from 1::

        alpha = lr * sqrt(1 - beta_2^t) / (1 - beta_1^t)
        m += (g - m) * (1 - beta_1)
        v += (g^2 - v) * (1 - beta_2)
        w -= m * alpha / (sqrt(v) + eps)

    In ``alpha`` alone, the betas pass through float32, also for float64 weights.

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        betas: Keras's beta_1 and beta_2.
        eps: Keras's epsilon.
        amsgrad: Whether the largest v so far takes v's place in the last line.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/adam.py, update_step.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        amsgrad: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(params, lr, {"betas": betas, "eps": eps, "amsgrad": amsgrad}, **shared)

    @override
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        return dict.fromkeys(("momentum", "velocity", "velocity_hat")[: 3 if group["amsgrad"] else 2], 0.0)

    @override
    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        beta_1, beta_2 = (through_float32(number, beta) for beta in group["betas"])
        one = number(1)
        return (lr * np.sqrt(one - beta_2**step) / (one - beta_1**step),)

    @override
    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        (alpha,) = scalars
        params, grads, slots = bucket.params, bucket.grads, list(bucket.slots.values())
        beta_1, beta_2 = group["betas"]
        if max(group["betas"]) < 1 and _aligned(params, grads, *slots):
            # PyTorch's own kernel, told that infinitely many steps have passed: no correction of its own.
            forever = torch.full((), torch.inf, device=params[0].device)
            torch._fused_adam_(
                params,
                grads,
                slots[0],
                slots[1],
                slots[2] if group["amsgrad"] else [],
                [forever] * len(params),
                lr=alpha,
                beta1=beta_1,
                beta2=beta_2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=group["amsgrad"],
                maximize=False,
            )
            return
        momentums, velocities = slots[:2]
        torch._foreach_lerp_(momentums, grads, weight=1 - beta_1)
        torch._foreach_mul_(velocities, beta_2)
        torch._foreach_addcmul_(velocities, grads, grads, value=1 - beta_2)
        if group["amsgrad"]:
            torch._foreach_maximum_(slots[2], velocities)
        denominators = torch._foreach_sqrt(slots[-1])
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(params, momentums, denominators, value=-alpha)


class AdamW(Adam):
    """`Adam` with weight decay by default; the decay itself is that of every optimizer.

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        betas: Keras's beta_1 and beta_2.
        eps: Keras's epsilon.
        weight_decay: Decoupled. Not None.
        amsgrad: See `Adam`.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/adamw.py.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        weight_decay: float = 0.004,
        amsgrad: bool = False,
        **shared: Unpack[SharedBesidesDecay],
    ) -> None:
        if weight_decay is None:
            raise TransferError("AdamW needs a number as weight_decay. Received: None. Without decay it is Adam.")
        super().__init__(params, lr, betas, eps, amsgrad, weight_decay=weight_decay, **shared)


def _aligned(params: list[torch.Tensor], *lists: list[torch.Tensor]) -> bool:
    """Whether the elements of all tensors lie in memory in the same order.

    PyTorch's kernel for the CPU pairs them by that order, without looking.
    """
    strides = [param.stride() for param in params]
    return all([tensor.stride() for tensor in tensors] == strides for tensors in lists)
