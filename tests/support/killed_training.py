"""Trainings that are killed in the middle of a step: ``python -m resnet_torch train``, one process or several.

The processes are forked from one that has imported everything, and told what torchrun tells those that it starts.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from pathlib import Path

from weight_transfer.cli.running import run
from weight_transfer.data import Batches, Shuffled

PACKAGE = "resnet_torch"
Place = tuple[int, int]  # epoch and step, from 0


def kill_trainings(arguments: list[str | Path], place: Place, processes: int = 1) -> list[int | None]:
    """Trains until a batch to learn from is made, and returns the exit codes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resnet_torch.training.run"])
    told = {
        "TORCHELASTIC_RUN_ID": "killed",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    started = []
    for rank in range(processes):
        own = {**told, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        started.append(context.Process(target=_train, args=(list(map(str, arguments)), place, own)))
        started[-1].start()
    for process in started:
        process.join(timeout=300)
    return [process.exitcode for process in started]


def _train(arguments: list[str], place: Place, environment: dict[str, str]) -> None:
    from resnet_torch.__main__ import app

    os.environ |= environment
    made = Batches.batch

    def batch(self: Batches, epoch: int, step: int, *share: int):
        if (epoch, step) == place and isinstance(self.order, Shuffled):
            os.kill(os.getpid(), signal.SIGKILL)
        return made(self, epoch, step, *share)

    Batches.batch = batch
    run(lambda prog_name, obj: app(arguments, prog_name=prog_name), f"python -m {PACKAGE}")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
