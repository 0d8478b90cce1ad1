"""Noticing that a training has gone to NaN, before the last good checkpoint is replaced."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class _Watched(NamedTuple):
    where: str
    loss: Tensor
    event: torch.cuda.Event | None


class FiniteLosses:
    """Whether all losses so far are finite; looks at each one step late, so that a GPU need not be waited for."""

    def __init__(self) -> None:
        self._pending: list[_Watched] = []

    def add(self, where: str, loss: Tensor) -> None:
        """Takes a step's loss, ().

        Args:
            where: The step, in words.
            loss: Its loss.
        """
        copied, event = loss.detach().to("cpu", non_blocking=True), None
        if loss.is_cuda:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch gives it no types
            event.record()
        self._pending.append(_Watched(where, copied, event))

    def problem(self, keep: int = 1) -> str:
        """Says which is the first loss that is not finite; an empty text where there is none.

        Args:
            keep: How many of the latest losses to look at another time.
        """
        while len(self._pending) > keep:
            watched = self._pending.pop(0)
            if watched.event is not None:
                watched.event.synchronize()
            if not bool(watched.loss.isfinite()):
                return f"the loss became {watched.loss.item()} at {watched.where}"
        return ""


def problem_of_weights(model: nn.Module, where: str) -> str:
    """Says which weights or statistics are not finite; an empty text where all are.

    Args:
        model: The network.
        where: What has just been done, in words.
    """
    tensors = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    # A norm is not finite where one number is not; where it only overflows, the tensors are looked at one by one.
    if bool(torch.stack(torch._foreach_norm(list(tensors.values()))).isfinite().all()):
        return ""
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    return f"{len(bad)} of the network's tensors are no longer finite after {where}, {bad[0]} first" if bad else ""
