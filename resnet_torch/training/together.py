"""What several processes must do alike: stop."""

from __future__ import annotations

import sys
import time

import torch
import torch.distributed as dist

from resnet_torch.synchronized_step import several_processes
from weight_transfer.errors import TransferError

BAD_INPUT = 2
PATIENCE_S = 5.0  # torchrun ends all processes with the first that ends: let it be the one that speaks


def stop_together(problem: str, device: torch.device) -> None:
    """Stops all processes where one of them has a problem; every process must call it.

    One that stopped alone would leave the others waiting for it.

    Args:
        problem: What is wrong, or an empty text.
        device: Of this process.

    Raises:
        TransferError: In the first process, and in one alone: what is wrong.
        SystemExit: In the others.
    """
    if several_processes():
        flag = torch.tensor(float(bool(problem)), device=device)
        dist.all_reduce(flag)
        if not flag.item():
            return
        problems: list[str] = [""] * dist.get_world_size()
        dist.all_gather_object(problems, problem)
        problem = next(one for one in problems if one)
        if dist.get_rank():
            time.sleep(PATIENCE_S)
            sys.exit(BAD_INPUT)
    if problem:
        raise TransferError(problem)
