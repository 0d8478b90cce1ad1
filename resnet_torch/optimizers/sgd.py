"""Keras's SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from typing_extensions import Unpack, override

from resnet_torch.optimizers.bucket import Bucket, Number, through_float32
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters, Shared
from weight_transfer.errors import TransferError


class SGD(KerasOptimizer):
    """``v = momentum * v - lr * g; w += v``, with Nesterov ``w += momentum * v - lr * g``.

    PyTorch's keeps ``v / -lr``: the same until the learning rate changes, when this velocity keeps
    the step it was making.

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        momentum: Within 0 and 1. Through float32 in Keras, also for float64 weights.
        nesterov: Whether to look ahead.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/sgd.py, update_step.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(params, lr, {"momentum": momentum, "nesterov": nesterov}, **shared)

    @override
    def check(self, group: Mapping[str, Any]) -> None:
        super().check(group)
        if not 0 <= group["momentum"] <= 1:
            raise TransferError(f"momentum must be within 0 and 1. Received: momentum={group['momentum']}")

    @override
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0} if group["momentum"] else {}

    @override
    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        return lr, through_float32(number, group["momentum"])

    @override
    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        lr, momentum = scalars
        if not group["momentum"]:
            torch._foreach_add_(bucket.params, bucket.grads, alpha=-lr)
            return
        velocities = bucket.slots["momentum"]
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, bucket.grads, alpha=-lr)
        if group["nesterov"]:
            torch._foreach_add_(bucket.params, velocities, alpha=momentum)
            torch._foreach_add_(bucket.params, bucket.grads, alpha=-lr)
        else:
            torch._foreach_add_(bucket.params, velocities)
