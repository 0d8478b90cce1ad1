"""Keras's Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from typing_extensions import Unpack, override

from resnet_torch.optimizers.bucket import Bucket, Number, through_float32
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters, Shared


class Adamax(KerasOptimizer):
    """Adam with the largest recent gradient in the place of the mean square.

    With t the step, counted from 1::

        m += (g - m) * (1 - beta_1)
        u = max(beta_2 * u, |g|)
        w -= lr * m / ((1 - beta_1^t) * (u + eps))

    In the power alone, beta_1 passes through float32, also for float64 weights.

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        betas: Keras's beta_1 and beta_2.
        eps: Keras's epsilon. PyTorch's adds it to ``|g|`` instead.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/adamax.py, update_step.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(params, lr, {"betas": betas, "eps": eps}, **shared)

    @override
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0, "norm": 0.0}

    @override
    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        return (lr / (number(1) - through_float32(number, group["betas"][0]) ** step),)

    @override
    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        (corrected_lr,) = scalars
        beta_1, beta_2 = group["betas"]
        momentums, norms = bucket.slots.values()
        torch._foreach_lerp_(momentums, bucket.grads, weight=1 - beta_1)
        torch._foreach_mul_(norms, beta_2)
        torch._foreach_maximum_(norms, torch._foreach_abs(bucket.grads))
        denominators = torch._foreach_add(norms, group["eps"])
        torch._foreach_addcdiv_(bucket.params, momentums, denominators, value=-corrected_lr)
