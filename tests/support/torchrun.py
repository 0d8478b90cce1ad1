"""Several processes that train together on this machine, over gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Runs a script, or ``-m module``, in every process, and waits; a free port is found each time."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=False)


def environment() -> dict[str, str]:
    """With this checkout's modules, and one thread for each process."""
    paths = f"{SUPPORT.parents[1]}{os.pathsep}{SUPPORT}"
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
