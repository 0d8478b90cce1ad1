"""Keras's Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from typing_extensions import Unpack, override

from resnet_torch.optimizers.bucket import Bucket, Number
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate, Parameters, Shared


class Adagrad(KerasOptimizer):
    """``a += g^2; w -= lr * g / sqrt(a + eps)``, epsilon inside the root.

    Args:
        params: See `KerasOptimizer`, as for ``lr`` and ``shared``.
        lr: Learning rate.
        eps: Keras's epsilon.
        initial_accumulator_value: What ``a`` starts from. Through float32 in Keras, also for float64
            weights.
        eps_outside_root: ``sqrt(a) + eps``, as in Keras 2.
        shared: What every optimizer takes.

    Source: Keras 3.15.1 keras/src/optimizers/adagrad.py, build and update_step; tf_keras
    optimizers/legacy/adagrad.py, _resource_apply_dense.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate = 0.001,
        eps: float = 1e-7,
        initial_accumulator_value: float = 0.1,
        eps_outside_root: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        own = {"eps": eps, "initial_accumulator_value": initial_accumulator_value, "eps_outside_root": eps_outside_root}
        super().__init__(params, lr, own, **shared)

    @override
    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"accumulator": group["initial_accumulator_value"]}

    @override
    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        return (lr,)

    @override
    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        (lr,) = scalars
        accumulators = bucket.slots["accumulator"]
        torch._foreach_addcmul_(accumulators, bucket.grads, bucket.grads)
        if group["eps_outside_root"]:
            denominators = torch._foreach_sqrt(accumulators)
            torch._foreach_add_(denominators, group["eps"])
        else:
            denominators = torch._foreach_add(accumulators, group["eps"])
            torch._foreach_sqrt_(denominators)
        torch._foreach_addcdiv_(bucket.params, bucket.grads, denominators, value=-lr)
