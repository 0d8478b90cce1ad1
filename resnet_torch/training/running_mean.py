"""Loss and accuracy of an epoch as Keras counts them, over all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from resnet_torch.synchronized_step import several_processes


class Tally:
    """Sums over the images that this process has seen, and what they come to over those of all.

    Kept in float64, on the device: adding to it waits for nothing.

    Args:
        device: Where the losses are.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def clear(self, device: torch.device | str) -> None:
        """Starts anew."""
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def to(self, device: torch.device | str) -> None:
        """Moves the sums to a device."""
        self.sums = self.sums.to(device)

    def add(self, loss: Tensor, hits: Tensor, count: int) -> None:
        """Adds some images.

        Args:
            loss: (), the sum of their losses, and ``count`` times the regularization.
            hits: (), how many were known.
            count: How many there are.
        """
        # Not torch.stack: on a GPU each of these would be a copy that waits.
        self.sums[0] += loss.detach()
        self.sums[1] += hits
        self.sums[2] += count

    def result(self) -> tuple[float, float]:
        """Returns mean loss and accuracy over all processes, the same bits in each."""
        sums = self.sums.clone()
        if several_processes():
            dist.all_reduce(sums)
        loss, hits, count = sums.tolist()
        return (loss / count, hits / count) if count else (float("nan"), float("nan"))

    def of_all(self) -> Tensor:
        """Returns (processes, 3): the sums of each, on the CPU; every process must call it."""
        if not several_processes():
            return self.sums[None].cpu()
        parts = [torch.empty_like(self.sums) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, self.sums)
        return torch.stack(parts).cpu()

    def go_on(self, of_all: Tensor, rank: int, world: int) -> None:
        """Takes what `of_all` gave: its own sums, or where there were other processes then, the first one takes all."""
        if len(of_all) == world:
            self.sums.copy_(of_all[rank])
        else:
            self.sums.copy_(of_all.sum(0) if rank == 0 else torch.zeros(3))
