"""Keras's three ways of clipping gradients, whole lists at a time. None changes the gradients given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from resnet_torch.optimizers.bucket import Bucket

CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")


def clip(work: list[tuple[dict[str, Any], Bucket]]) -> None:
    """Gives each bucket clipped gradients, by what its parameter group sets; a threshold of 0 or less clips nothing."""
    thresholds = [{name: group[name] for name in CLIPPING if (group[name] or 0) > 0} for group, _ in work]
    norm = None
    if any("global_clipnorm" in threshold for threshold in thresholds):
        norm = global_norm([bucket.grads for _, bucket in work])
    for (_, bucket), threshold in zip(work, thresholds, strict=True):
        if "clipnorm" in threshold:
            bucket.grads = clip_by_norm(bucket.grads, threshold["clipnorm"])
        elif norm is not None and "global_clipnorm" in threshold:
            bucket.grads = clip_by_global_norm(bucket.grads, threshold["global_clipnorm"], norm)
        elif "clipvalue" in threshold:
            bucket.grads = clip_by_value(bucket.grads, threshold["clipvalue"])


def clip_by_norm(grads: list[Tensor], threshold: float) -> list[Tensor]:
    """Brings each gradient's norm down to the threshold: ``g * threshold / max(norm, threshold)``.

    Source: Keras 3.15.1 keras/src/backend/tensorflow/optimizer.py, _clip_by_norm, which is TensorFlow's
    tensorflow/python/ops/clip_ops.py, clip_by_norm.
    """
    factors = threshold / torch.stack(torch._foreach_norm(grads)).clamp_(min=threshold)
    return list(torch._foreach_mul(grads, list(factors.unbind())))


def global_norm(buckets: list[list[Tensor]]) -> Tensor:
    """The norm of all gradients together, as a scalar on the first one's device.

    Source: Keras 3.15.1 keras/src/optimizers/base_optimizer.py, global_norm.
    """
    device = buckets[0][0].device
    norms = [torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))).to(device) for grads in buckets]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total


def clip_by_global_norm(grads: list[Tensor], threshold: float, norm: Tensor) -> list[Tensor]:
    """Scales by ``threshold * min(1 / norm, 1 / threshold)``; a norm that is not finite makes all of it NaN.

    Source: Keras 3.15.1 keras/src/optimizers/base_optimizer.py, clip_by_global_norm.
    """
    scale = threshold * (1 / norm).clamp(max=1 / threshold) + (norm - norm)
    return list(torch._foreach_mul(grads, scale.to(grads[0].device, grads[0].dtype)))


def clip_by_value(grads: list[Tensor], threshold: float) -> list[Tensor]:
    """Clips each element to plus and minus the threshold; NaN stays NaN.

    Source: Keras 3.15.1 keras/src/backend/tensorflow/numpy.py, clip.
    """
    clipped = torch._foreach_clamp_max(grads, threshold)
    torch._foreach_clamp_min_(clipped, -threshold)
    return list(clipped)
