"""Keras's RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from typing_extensions import Unpack, override

from resnet_torch.optimizers.bucket import Bucket, Number
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters, Shared


class RMSprop(KerasOptimizer):
    """RMSprop with epsilon inside the root.

    ::

        v = alpha * v + (1 - alpha) * g^2
        a = alpha * a + (1 - alpha) * g                     (centered)
        step = lr * g / sqrt(v - a^2 + eps)
        w -= step, or with momentum: m = momentum * m + step; w -= m

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        alpha: Keras's rho.
        eps: Keras's epsilon.
        momentum: Share of the last step that the next one keeps.
        centered: Whether to subtract the mean gradient's square.
        eps_outside_root: ``sqrt(v - a^2) + eps``, as in Keras 2, which had it so without momentum.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/rmsprop.py, update_step; tf_keras
    optimizers/legacy/rmsprop.py, _resource_apply_dense.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.001,
        alpha: float = 0.9,
        eps: float = 1e-7,
        momentum: float = 0.0,
        centered: bool = False,
        eps_outside_root: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        own = {
            "alpha": alpha,
            "eps": eps,
            "momentum": momentum,
            "centered": centered,
            "eps_outside_root": eps_outside_root,
        }
        super().__init__(params, lr, own, **shared)

    @override
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        used = {"velocity": True, "momentum": group["momentum"] > 0, "average_gradient": group["centered"]}
        return {name: 0.0 for name in used if used[name]}

    @override
    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        return (lr,)

    @override
    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        (lr,) = scalars
        alpha, velocities = group["alpha"], bucket.slots["velocity"]
        torch._foreach_mul_(velocities, alpha)
        torch._foreach_addcmul_(velocities, bucket.grads, bucket.grads, value=1 - alpha)
        inside = 0.0 if group["eps_outside_root"] else group["eps"]
        denominators = torch._foreach_add(velocities, inside)
        if group["centered"]:
            averages = bucket.slots["average_gradient"]
            torch._foreach_lerp_(averages, bucket.grads, weight=1 - alpha)
            torch._foreach_addcmul_(denominators, averages, averages, value=-1)
        torch._foreach_sqrt_(denominators)
        if group["eps_outside_root"]:
            torch._foreach_add_(denominators, group["eps"])
        if group["momentum"] > 0:
            momentums = bucket.slots["momentum"]
            torch._foreach_mul_(momentums, group["momentum"])
            torch._foreach_addcdiv_(momentums, bucket.grads, denominators, value=lr)
            torch._foreach_sub_(bucket.params, momentums)
        else:
            torch._foreach_addcdiv_(bucket.params, bucket.grads, denominators, value=-lr)
