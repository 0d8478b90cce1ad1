"""Several processes that train together on this machine, over gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def torchrun_command(*arguments: str | Path, processes: int = 2) -> list[str]:
    """The command; a free port is found each time."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, *map(str, arguments)]


def torchrun(*arguments: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Runs a script of tests/, or ``-m module``, in every process, and waits."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    command = torchrun_command(*arguments, processes=processes)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
