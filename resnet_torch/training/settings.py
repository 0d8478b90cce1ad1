"""How the torch side trains: what of a training does not change which training it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch

from weight_transfer.errors import TransferError

Precision = Literal["full", "bf16", "fp16"]
Accelerator = Literal["auto", "cpu", "gpu"]
MOST_WORKERS = 8


@dataclass(frozen=True)
class Settings:
    """Options of the torch side.

    Devices, machines and ``accumulate`` say how a batch is cut, not how large it is: with batch norms that are
    synchronized, one training in any number of processes.

    Attributes:
        precision: ``full`` is the recipe's dtype; ``bf16`` and ``fp16`` compute in it and keep the weights.
        accumulate: In how many parts, one after the other, each process computes its part of a batch.
        compile: Whether `torch.compile` compiles the network.
        channels_last: Whether images lie in memory as in Keras.
        devices: Processes on each machine; None for one, or as many as torchrun starts.
        nodes: Machines; None for one, or as many as torchrun runs on.
        accelerator: ``auto`` is a GPU where there is one.
        sync_batch_norm: Whether batch norms take their statistics over all processes.
        deterministic: Whether torch may only use operations that give the same bits every time.
        workers: Processes that make batches; None for none on a CPU, some for a GPU.
        checkpoint_every_steps: Writes the last checkpoint also within an epoch, every so many steps.
    """

    precision: Precision = "full"
    accumulate: int = 1
    compile: bool = False
    channels_last: bool = False
    devices: int | None = None
    nodes: int | None = None
    accelerator: Accelerator = "auto"
    sync_batch_norm: bool = True
    deterministic: bool = False
    workers: int | None = None
    checkpoint_every_steps: int | None = None

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``.

        Raises:
            TransferError: A GPU is asked for and there is none.
        """
        available = torch.cuda.is_available()
        if self.accelerator == "gpu" and not available:
            raise TransferError("there is no GPU that this torch can use. Take --accelerator cpu.")
        return "cuda" if available and self.accelerator != "cpu" else "cpu"

    @property
    def num_workers(self) -> int:
        """Processes that make batches, for each process that trains."""
        if self.workers is not None:
            return self.workers
        if self.device == "cpu":
            return 0  # the cores are busy with the network
        return min(MOST_WORKERS, (os.cpu_count() or 1) // self.processes_here)

    @property
    def processes_here(self) -> int:
        """Processes on this machine.

        Raises:
            TransferError: torchrun started another number.
        """
        return _agreed("--devices", self.devices, _torchrun("LOCAL_WORLD_SIZE"))

    @property
    def machines(self) -> int:
        """Machines.

        Raises:
            TransferError: torchrun runs on another number.
        """
        everywhere, here = _torchrun("WORLD_SIZE"), _torchrun("LOCAL_WORLD_SIZE")
        return _agreed("--nodes", self.nodes, everywhere // here if everywhere and here else None)

    @property
    def processes(self) -> int:
        """Processes in all."""
        return self.processes_here * self.machines

    def check(self) -> None:
        """Refuses what cannot be done here.

        Raises:
            TransferError: Why.
        """
        if self.precision == "fp16" and self.device == "cpu":
            raise TransferError("fp16 needs a GPU. Take --precision bf16, which a CPU can do too.")
        if self.device == "cuda" and self.processes_here > torch.cuda.device_count():
            raise TransferError(
                f"this machine has {torch.cuda.device_count()} GPUs. Received: --devices {self.processes_here}"
            )
        for name in ("accumulate", "devices", "nodes", "checkpoint_every_steps", "workers"):
            value, least = getattr(self, name), 0 if name == "workers" else 1
            if value is not None and value < least:
                raise TransferError(f"--{name.replace('_', '-')} must be at least {least}. Received: {value}")


def _torchrun(name: str) -> int | None:
    """What torchrun tells the processes that it starts; Lightning sets some of the same names for its own."""
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def _agreed(flag: str, said: int | None, started: int | None) -> int:
    if started is None:
        return said or 1
    if said not in (None, started):
        raise TransferError(f"torchrun has started {started}. Leave {flag} out. Received: {flag} {said}")
    return started
