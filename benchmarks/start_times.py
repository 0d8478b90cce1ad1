"""How long commands take to start, beside what they cannot do without: click, NumPy and h5py.

Whole processes, in turn, so that a busy machine is busy for all; the median of each.

    python benchmarks/start_times.py [--runs 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A small file that Keras would load, written without it.
MAKE = """
import sys
sys.path.insert(0, "tests/support")
import checkpoints
from pathlib import Path
checkpoints.checkpoint(Path(sys.argv[1]), checkpoints.small())
"""


def seconds_of(command: Sequence[str]) -> float:
    """Wall seconds of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints a line for each command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, port = str(Path(folder) / "model.h5"), str(Path(folder) / "port.safetensors")
        subprocess.run([sys.executable, "-c", MAKE, model], check=True, cwd=ROOT)
        program = [sys.executable, "-P", "-m", "weight_transfer"]
        click, arrays = "import click", "import click, numpy, h5py"
        commands: dict[str, tuple[str, list[str]]] = {
            "--version": (click, [*program, "--version"]),
            "--help": (click, [*program, "--help"]),
            "inspect": (arrays, [*program, "inspect", model]),
            "convert": (arrays, [*program, "convert", model, "-o", port]),
        }
        bases = {code: [sys.executable, "-c", code] for code in (click, arrays)}
        everything = {**bases, **{name: command for name, (_, command) in commands.items()}}
        found: dict[str, list[float]] = {name: [] for name in everything}
        for _ in range(arguments.runs + 1):  # the first writes Python's caches
            for name, command in everything.items():
                found[name].append(seconds_of(command))
    medians = {name: statistics.median(times[1:]) for name, times in found.items()}
    for code in bases:
        print(f"python -c '{code}'".ljust(42), f"{1000 * medians[code]:5.0f} ms")
    for name, (base, _) in commands.items():
        line = f"weight-transfer {name}".ljust(42)
        print(line, f"{1000 * medians[name]:5.0f} ms  {medians[name] / medians[base]:.1f} times '{base}'")


if __name__ == "__main__":
    main()
