"""Run by torchrun: the same step by two processes, each with its part of the batch, and by one with all of it.

Saves what the two give beside what the one gives; the tests compare.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_torch import create_resnet
from resnet_torch.batch_norm import BatchNorm2d, synchronize_batch_norms
from resnet_torch.layers.normalizations import BatchNorm
from resnet_torch.training import together
from weight_transfer.errors import TransferError

SIZES = (7, 4, 1)  # uneven; even; the last leaves a process without an image
Results = dict[str, tuple[Tensor, Tensor]]


def network(rule: str) -> nn.Module:
    """Every kind of layer of a ResNet, few channels wide, without dropout."""
    torch.manual_seed(2021)
    narrow = {"stem_filters": 3, "filters": ((3, 3), (4, 4)), "block_counts": (2, 1)}
    model = create_resnet((32, 32, 3), 5, depth=18, moving_variance=rule, **narrow).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def without_shared_buffers(model: nn.Module) -> DistributedDataParallel:
    """Buffers stay each process's own; torch 2.13 renamed the argument, and warns of the old name."""
    named = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"
    return DistributedDataParallel(model, **{name: False})


def steps(make: Callable[[], nn.Module], synchronized: bool, in_shape: tuple[int, ...] = (3, 32, 32)) -> Results:
    """Gradients and buffers of three steps: of both processes, and of one."""
    rank, world = dist.get_rank(), dist.get_world_size()
    one, many = make(), make()
    synchronize_batch_norms(many, synchronized)
    wrapped = without_shared_buffers(many)
    found: Results = {}
    for size in SIZES:
        x = 3 + 5 * torch.randn(size, *in_shape, dtype=torch.float64)
        for model, part, share in ((one, x, 1), (wrapped, x[rank::world], world)):
            model.zero_grad()
            (model(part).sin().sum() * share / size).backward()
        for (name, a), b in zip(many.named_parameters(), one.parameters(), strict=True):
            if a.requires_grad:
                found[f"{size}/gradient/{name}"] = a.grad.clone(), b.grad.clone()
        for (name, a), b in zip(many.named_buffers(), one.buffers(), strict=True):
            found[f"{size}/buffer/{name}"] = a.clone(), b.clone()
    return found


def frozen_stage(rule: str) -> nn.Module:
    model = network(rule)
    model.freeze("stem", "stage2")
    return model


def any_axis() -> nn.Module:
    """Batch norms of imported graphs: of vectors, and along the last axis, without gamma or beta."""
    torch.manual_seed(5)
    norms = (BatchNorm(6, axis=2, scale=False), nn.Flatten(), BatchNorm(24, center=False), nn.Linear(24, 2))
    return nn.Sequential(*norms).double().train()


def far_from_zero() -> Results:
    """float32 with a mean of 10,000 deviations, where E[x^2] - E[x]^2 has no right digit."""
    torch.manual_seed(1)
    x = 1e4 + torch.randn(8, 2, 16, 16, dtype=torch.float64)
    norm = BatchNorm2d(2, momentum=1.0)
    norm.synchronized = True
    norm(x.float()[dist.get_rank() :: dist.get_world_size()])
    return {"variance": (norm.running_var, x.float().double().var((0, 2, 3), correction=0))}


def stopped() -> str:
    """What the second process's problem makes of this one."""
    together.PATIENCE_S = 0.0
    together.stop_together("", torch.device("cpu"))  # nobody has one
    try:
        together.stop_together("image 7 is torn" if dist.get_rank() else "", torch.device("cpu"))
    except TransferError as error:
        return f"says {error}"
    except SystemExit as ended:
        return f"ends with {ended.code}"
    return "goes on"


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    results = {
        "keras3": steps(lambda: network("keras3"), True),
        "tf_keras": steps(lambda: network("tf_keras"), True),
        "frozen": steps(lambda: frozen_stage("keras3"), True),
        "any_axis": steps(any_axis, True, (4, 6)),
        "plain": steps(lambda: network("keras3"), False),
        "far_from_zero": far_from_zero(),
        "stopped": stopped(),
    }
    torch.save(results, folder / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
