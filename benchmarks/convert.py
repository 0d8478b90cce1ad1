"""Converting the 103 MB ResNet-50 `.h5`: `weight-transfer convert` against loading it with Keras.

The other side is what people write: load the model with Keras, copy each weight into a PyTorch
state dict, `torch.save` it. The same file is also converted by its own graph. Whole processes, in
turn; wall seconds and peak memory.

    python benchmarks/convert.py [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

WITH_KERAS = """
import sys
import keras, torch
model = keras.models.load_model(sys.argv[1], compile=False)
state = {}
for layer in model.layers:
    for weight in layer.weights:
        value = weight.numpy()
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
        state[f"{layer.name}.{weight.name}"] = torch.from_numpy(value.transpose(axes).copy())
torch.save(state, sys.argv[2])
"""

# The arguments of the tool's own command from SOURCE OUTPUT OPTIONS, with a clock around fsync.
PREPARED = """
import os, sys, time
fsync, spent = os.fsync, [0.0]
def timed(descriptor):
    start = time.perf_counter()
    fsync(descriptor)
    spent[0] += time.perf_counter() - start
os.fsync = timed
source, output, *options = sys.argv[1:]
sys.argv = ["weight-transfer", "convert", source, "-o", output, *options]
"""
OURS = f"""{PREPARED}
from weight_transfer.cli import main
try:
    main()
finally:
    print(f"fsync {{spent[0]:.3f}}", file=sys.stderr)
"""


# keras.applications' ResNet-50 with 1000 classes, as a full-model file.
CHECKPOINT = """
import sys
import keras
keras.applications.ResNet50(weights=None).save(sys.argv[1])
"""


@dataclass(frozen=True)
class Run:
    """One process: wall seconds, peak memory in bytes, seconds of it in fsync."""

    wall_s: float
    peak_bytes: int
    fsync_s: float


def run(code: str, source: Path, output: Path, *options: str) -> Run:
    """Runs a script in a fresh process."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as stderr:
        command = [sys.executable, "-c", code, str(source), str(output), *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        stderr.seek(0)
        text = stderr.read()
    if status:
        raise SystemExit(text)
    fsync = [line.split()[1] for line in text.splitlines() if line.startswith("fsync ")]
    return Run(wall_s, usage.ru_maxrss * 1024, float(fsync[0]) if fsync else 0.0)


def main() -> None:
    """Runs both in turn and prints medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "resnet50.h5"
        run(CHECKPOINT, source, source)
        size = source.stat().st_size
        ours, graphs, theirs = [], [], []
        for number in range(runs + 1):
            turn = (
                run(OURS, source, folder / f"{number}.safetensors"),
                run(OURS, source, folder / f"{number}.safetensors", "--as", "graph"),
                run(WITH_KERAS, source, folder / f"{number}.pt"),
            )
            if number:  # the first turn warms the disk's cache
                for results, result in zip((ours, graphs, theirs), turn, strict=True):
                    results.append(result)
    print(f"resnet50.h5: {size / 1e6:.1f} MB; {runs} runs each, in turn; medians")
    print(f"{'':24}{'wall s':>9}{'peak MB':>9}{'peak - file, MB':>17}")
    titles = ("weight-transfer convert", "  --as graph", "Keras, then torch.save")
    for title, results in zip(titles, (ours, graphs, theirs), strict=True):
        wall = statistics.median(r.wall_s for r in results)
        peak = statistics.median(r.peak_bytes for r in results)
        print(f"{title:24}{wall:9.2f}{peak / 1e6:9.0f}{(peak - size) / 1e6:17.0f}")
    ratios = [b.wall_s / a.wall_s for a, b in zip(ours, theirs, strict=True)]
    without = [b.wall_s / (a.wall_s - a.fsync_s) for a, b in zip(ours, theirs, strict=True)]
    fsync_s = statistics.median(r.fsync_s for r in ours)
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}); ", end="")
    print(f"fsync took {fsync_s:.2f} s of ours, without it {statistics.median(without):.1f}")
    slower = statistics.median(b.wall_s / a.wall_s for a, b in zip(ours, graphs, strict=True))
    print(f"the graph takes {slower:.2f} times as long as the names")


if __name__ == "__main__":
    main()
