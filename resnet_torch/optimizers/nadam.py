"""Keras's Nadam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from typing_extensions import Unpack, override

from resnet_torch.optimizers.bucket import Bucket, Number, number_of, through_float32
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters, Shared


class Nadam(KerasOptimizer):
    """Adam with Nesterov momentum, whose momentum warms up.

    With t the step, counted from 1, ``u_t = beta_1 * (1 - 0.5 * 0.96^t)`` and ``p_t = u_1 * .. * u_t``::

        m += (g - m) * (1 - beta_1)
        v += (g^2 - v) * (1 - beta_2)
        mean = u_(t+1) * m / (1 - p_t * u_(t+1)) + (1 - u_t) * g / (1 - p_t)
        w -= lr * mean / (sqrt(v / (1 - beta_2^t)) + eps)

    The betas and 0.96 pass through float32, also for float64 weights, but not in ``p_t``, which is
    kept in the dtype of the first weight, as each group's ``u_product``.

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        betas: Keras's beta_1 and beta_2.
        eps: Keras's epsilon.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/nadam.py, _backend_update_step and update_step.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(params, lr, {"betas": betas, "eps": eps, "u_product": 1.0}, **shared)

    @override
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0, "velocity": 0.0}

    @override
    def advance(self, group: dict[str, Any]) -> None:
        number = number_of(group["params"][0].dtype)
        step = number(group["iterations"] + 1)
        warmth = number(1) - number(0.5) * number(0.96) ** step
        group["u_product"] = float(number(group["u_product"]) * number(group["betas"][0]) * warmth)

    @override
    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        beta_1, beta_2 = (through_float32(number, beta) for beta in group["betas"])
        one, half, base = number(1), number(0.5), through_float32(number, 0.96)
        now = beta_1 * (one - half * base**step)
        following = beta_1 * (one - half * base ** (step + one))
        product = number(group["u_product"])
        of_momentum = lr * following / (one - product * following)
        of_gradient = lr * (one - now) / (one - product)
        return of_momentum, of_gradient, np.sqrt(one - beta_2**step), one - beta_1, one - beta_2

    @override
    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        of_momentum, of_gradient, root, share_1, share_2 = scalars
        momentums, velocities = bucket.slots.values()
        torch._foreach_lerp_(momentums, bucket.grads, weight=share_1)
        torch._foreach_mul_(velocities, 1 - share_2)
        torch._foreach_addcmul_(velocities, bucket.grads, bucket.grads, value=share_2)
        denominators = torch._foreach_sqrt(velocities)
        torch._foreach_div_(denominators, root)
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(bucket.params, momentums, denominators, value=-of_momentum)
        torch._foreach_addcdiv_(bucket.params, bucket.grads, denominators, value=-of_gradient)
