"""Verifying a ResNet-50 at 224 x 224: against a recording, and with Keras running; and memory with a ResNet-152.

Whole processes, in turn; wall seconds and each side's peak memory. The ResNet-152 gets a batch of
eight photographs: no side keeps more than the tensors that are still needed.

    python benchmarks/verify.py [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOL = str(Path(sys.executable).parent / "weight-transfer")
# A ResNet with seeded weights, as the demo makes it.
MAKE = """
import sys
from pathlib import Path
from weight_transfer.cli.demo import make_checkpoint
make_checkpoint(int(sys.argv[1]), 0, Path(sys.argv[2]), lambda share: None)
"""
# A command, and the peak memory of the largest process under it, in MB.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(code)
"""


def timed(*command: str) -> tuple[float, int]:
    """Wall seconds, and peak memory in MB, of a command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PEAK, *command], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, int(done.stdout.split()[-1])


def main() -> None:
    """Prints both comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, port, recording = (str(folder / file) for file in ("50.h5", "50.safetensors", "50.reference"))
        subprocess.run([sys.executable, "-c", MAKE, "50", source], check=True)
        subprocess.run([TOOL, "convert", source, "-o", port], check=True, capture_output=True)
        seconds, memory = timed(TOOL, "record", source, "-o", recording)
        size_mb = Path(recording).stat().st_size / 1e6
        print(f"ResNet-50 record: {seconds:.1f} s, {memory} MB at most, a file of {size_mb:.2f} MB")
        alone = [timed(TOOL, "verify", source, port, "--reference", recording) for _ in range(runs)]
        both = [timed(TOOL, "verify", source, port) for _ in range(runs)]
        for title, measured in (("against the recording", alone), ("with Keras running", both)):
            times = [seconds for seconds, _ in measured]
            print(
                f"ResNet-50 verify {title}: {statistics.median(times):.1f} s "
                f"({min(times):.1f} to {max(times):.1f}), {max(memory for _, memory in measured)} MB at most"
            )
        deep = str(folder / "152.h5")
        subprocess.run([sys.executable, "-c", MAKE, "152", deep], check=True)
        for title, command in {
            "Keras's side": ("record", deep, "-o", str(folder / "152.reference"), "--photographs", "8"),
            "PyTorch's side": ("verify", deep, "--reference", str(folder / "152.reference")),
        }.items():
            seconds, memory = timed(TOOL, *command)
            print(f"ResNet-152, batch 8 at 224 x 224, {title}: {seconds:.1f} s, {memory} MB at most")
    print(f"on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
