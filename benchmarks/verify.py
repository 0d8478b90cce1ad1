"""Verifying a ResNet-50 at 224 x 224, now and at an earlier revision, in turn: wall time and peak memory.

With Keras running, against a recording, and quickly. Whole processes; the earlier revision is taken out of git into a
temporary folder, and runs in this environment. Without git, or with ``--against none``, only what is here is timed.

    python benchmarks/verify.py [--runs 3] [--against REVISION] [--deep]

``--deep`` adds a ResNet-152 with a batch of eight photographs: no side keeps more than the tensors that are still
needed.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEFORE_EXACT_RUNS = "ae1f5a3"  # the last revision without exact runs and without the owner's own calls
# A ResNet with seeded weights, as the demo makes it.
MAKE = """
import sys
from pathlib import Path
from weight_transfer.cli.demo import make_checkpoint
make_checkpoint(int(sys.argv[1]), 0, Path(sys.argv[2]), lambda share: None)
"""
# A command line of the revision that the path names first, and the peak memory of the largest process under it, in MB.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(code)
"""
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from weight_transfer.cli import main; main()"


def timed(tree: Path, *command: str) -> tuple[float, int]:
    """Wall seconds, and peak memory in MB, of a command of the revision in a folder."""
    whole = [sys.executable, "-c", RUN, str(tree), *command]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *whole],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    return time.perf_counter() - start, int(done.stdout.split()[-1])


def earlier(revision: str, folder: Path) -> Path:
    """Takes a revision out of git into a folder."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        file.extractall(folder / revision, filter="data")
    return folder / revision


def in_turn(runs: int, commands: Mapping[str, tuple[Path, Sequence[str]]]) -> dict[str, list[tuple[float, int]]]:
    """Times each command once, then each again, so that a busy machine is busy for all."""
    found: dict[str, list[tuple[float, int]]] = {title: [] for title in commands}
    for _ in range(runs):
        for title, (tree, command) in commands.items():
            found[title].append(timed(tree, *command))
    return found


def show(measured: Mapping[str, list[tuple[float, int]]], base: str | None) -> None:
    """Prints a line for each command, with ratios to the earlier revision's where it was timed."""
    for title, runs in measured.items():
        seconds, memory = statistics.median(time for time, _ in runs), max(peak for _, peak in runs)
        line = f"{title:<42} {seconds:5.1f} s  {memory:5d} MB"
        if base is not None and title != base:
            ratios = [one / other for (one, _), (other, _) in zip(runs, measured[base], strict=True)]
            most = max(peak for _, peak in measured[base])
            line += f"  {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"
            line += f", memory {memory / most:.2f}"
        print(line, flush=True)


def main() -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--against", default=BEFORE_EXACT_RUNS)
    parser.add_argument("--deep", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, port = str(folder / "50.h5"), str(folder / "50.safetensors")
        subprocess.run([sys.executable, "-c", MAKE, "50", source], check=True, cwd=ROOT)
        timed(ROOT, "convert", source, "-o", port)
        trees = {"now": ROOT}
        if arguments.against != "none":
            trees = {arguments.against: earlier(arguments.against, folder), "now": ROOT}
        recordings = {title: str(folder / f"{title}.reference") for title in trees}
        for title, tree in trees.items():
            seconds, memory = timed(tree, "record", source, "-o", recordings[title])
            size_mb = Path(recordings[title]).stat().st_size / 1e6
            print(f"record, {title}: {seconds:.1f} s, {memory} MB, a file of {size_mb:.2f} MB", flush=True)
        base = arguments.against if len(trees) > 1 else None
        for what, more in {"with Keras running": dict.fromkeys(trees, ()), "against a recording": recordings}.items():
            commands = {}
            for title, tree in trees.items():
                beside = ("--reference", more[title]) if more[title] else ()
                commands[title] = (tree, ("verify", source, port, *beside))
                if title == "now":
                    commands["now, --quick"] = (tree, ("verify", source, port, *beside, "--quick"))
            print(f"\nverify, {what}, median of {arguments.runs}:")
            show(in_turn(arguments.runs, commands), base)
        if arguments.deep:
            deep = str(folder / "152.h5")
            subprocess.run([sys.executable, "-c", MAKE, "152", deep], check=True, cwd=ROOT)
            print("\nResNet-152, eight photographs in one batch:")
            for title, command in {
                "Keras's side": ("record", deep, "-o", str(folder / "152.reference"), "--photographs", "8"),
                "PyTorch's side": ("verify", deep, "--reference", str(folder / "152.reference")),
            }.items():
                show({title: [timed(ROOT, *command)]}, None)
    print(f"\non {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
