"""What `weight-transfer convert` costs by the number of layers and by the size of the file.

Two series of ResNets, written without Keras: narrow ones of 18 to 1,202 layers (He et al. 2015, section 4.2: blocks of
two 3x3 convolutions, three stages), and the ResNet-50's blocks in widths that make files of 10 MB to 1 GB. Each point
is so many fresh processes, the points of a series in turn; wall seconds, CPU seconds and peak memory are medians of
what a process took above importing the tool. Prints a table with the exponent between neighbouring points (1 is
linear), keeps the figures as JSON beside the picture, and draws it.

    python benchmarks/convert_sizes.py [--runs 3] [-o docs/convert-sizes.svg]
    python benchmarks/convert_sizes.py --draw docs/convert-sizes.json -o docs/convert-sizes.svg
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from convert import PREPARED

# Block counts by number of layers: the stem, two convolutions for each block, the classifier.
LAYERS: Mapping[int, tuple[int, int, int]] = {
    18: (2, 3, 3),
    38: (6, 6, 6),
    74: (12, 12, 12),
    146: (24, 24, 24),
    290: (48, 48, 48),
    602: (100, 100, 100),
    1202: (200, 200, 200),
}
WIDTHS = (0.31, 0.55, 1.0, 1.83, 3.27)  # times the ResNet-50's filters: about 10, 30, 100, 320, 1000 MB
WAYS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # a title: the file's ending, options of the command
    ".h5": (".h5", ()),
    ".keras": (".keras", ()),
    ".h5 by its graph": (".h5", ("--as", "graph")),
}
# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#D55E00", "#009E73")
INK, GRID = "#333333", "#E4E4E4"

WRITE = """
import json, sys
import numpy as np
from weight_transfer import Head, design
from weight_transfer.conversion.keras_model import write_checkpoint
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping
form = json.loads(sys.argv[1])
filters = tuple(map(tuple, form.pop("filters")))
network = resnet_graph(design(head=Head(classes=10), in_shape=(224, 224, 3), filters=filters, **form))
generator = np.random.default_rng(0)
arrays = {row.keras: generator.uniform(0.1, 1.0, row.shape).astype("float32") for row in mapping(network)}
for path in sys.argv[2:]:
    write_checkpoint(path, Description(network, MADE_HERE), arrays)
"""
# The tool's own command, with a clock around fsync; what the process took until the imports were done comes first.
CONVERT = f"""{PREPARED}
import resource
from weight_transfer.cli import convert, main
def now():
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return time.perf_counter(), used.ru_utime + used.ru_stime, int(peak) * 1024, spent[0]
before = now()
try:
    main()
except SystemExit as ended:
    if ended.code:
        raise
print(*(after - early for early, after in zip(before, now(), strict=True)), file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """What one process took above its imports.

    Attributes:
        wall_s: Seconds that passed, without those in fsync.
        cpu_s: Seconds of all cores, user and system.
        peak_bytes: Of resident memory.
        fsync_s: Seconds in fsync, which are the disk's.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: float
    fsync_s: float


@dataclass(frozen=True)
class Point:
    """One network, converted in one way.

    Attributes:
        way: A key of `WAYS`.
        x: Layers, or bytes of the file.
        layers: Layers of the network.
        size_bytes: Of the file.
        cost: The median of each figure.
        lowest_cpu_s: Of the runs.
        highest_cpu_s: Of the runs.
    """

    way: str
    x: float
    layers: int
    size_bytes: int
    cost: Cost
    lowest_cpu_s: float
    highest_cpu_s: float


def convert(source: Path, output: Path, options: Sequence[str]) -> Cost:
    """Converts a file in a fresh process."""
    command = [sys.executable, "-c", CONVERT, str(source), str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    output.unlink(missing_ok=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    wall_s, cpu_s, peak_bytes, fsync_s = map(float, done.stderr.split()[-4:])
    return Cost(wall_s - fsync_s, cpu_s, peak_bytes, fsync_s)


def deep_networks() -> dict[int, tuple[int, dict[str, object]]]:
    """Narrow networks by number of layers, with that number."""
    stages = ((4, 4), (8, 8), (16, 16))
    shared: dict[str, object] = {"block": "basic", "filters": stages, "stem_filters": 4}
    return {layers: (layers, {**shared, "block_counts": counts}) for layers, counts in LAYERS.items()}


def wide_networks() -> dict[float, tuple[int, dict[str, object]]]:
    """Networks of the ResNet-50's blocks by width, with their 50 layers."""
    found: dict[float, tuple[int, dict[str, object]]] = {}
    for width in WIDTHS:
        stem = round(64 * width)
        stages = [(stem * 2**stage, stem * 2**stage, 4 * stem * 2**stage) for stage in range(4)]
        found[width] = (50, {"block_counts": (3, 4, 6, 3), "filters": stages, "stem_filters": stem})
    return found


def measured(networks: Mapping[float, tuple[int, dict[str, object]]], runs: int, by_size: bool) -> list[Point]:
    """Converts each network in each way, in turns; what was just written lies in the disk's cache."""
    points = []
    for layers, form in networks.values():
        with tempfile.TemporaryDirectory() as name:
            files = {ending: Path(name) / f"network{ending}" for ending in (".h5", ".keras")}
            command = [sys.executable, "-c", WRITE, json.dumps(form), *map(str, files.values())]
            subprocess.run(command, check=True)
            costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
            for _ in range(runs):
                for way, (ending, options) in WAYS.items():
                    costs[way].append(convert(files[ending], Path(name) / "port.safetensors", options))
            for way, (ending, _) in WAYS.items():
                size = files[ending].stat().st_size
                points.append(_point(way, size if by_size else layers, layers, size, costs[way]))
                print(_row(points[-1]), flush=True)
    return points


def _point(way: str, x: float, layers: int, size: int, costs: Sequence[Cost]) -> Point:
    medians = {key: statistics.median(getattr(cost, key) for cost in costs) for key in asdict(costs[0])}
    seconds = [cost.cpu_s for cost in costs]
    return Point(way, x, layers, size, Cost(**medians), min(seconds), max(seconds))


def _row(point: Point) -> str:
    cost = point.cost
    return (
        f"{point.layers:6} layers {point.size_bytes / 1e6:8.1f} MB  {point.way:17} "
        f"wall {cost.wall_s:7.3f} s  CPU {cost.cpu_s:7.3f} s ({point.lowest_cpu_s:.3f} to {point.highest_cpu_s:.3f})  "
        f"peak {cost.peak_bytes / 1e6:7.1f} MB  fsync {cost.fsync_s:6.3f} s"
    )


def exponents(points: Sequence[Point], way: str, what: str) -> list[float]:
    """Between neighbouring points of a series, the power of x by which a figure grows."""
    own = [point for point in points if point.way == way]
    return [
        math.log(getattr(after.cost, what) / getattr(before.cost, what)) / math.log(after.x / before.x)
        for before, after in itertools.pairwise(own)
    ]


def draw(series: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Draws seconds and memory by layers and by size, on logarithmic axes, where a line of slope 1 is linear."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "convert-sizes"  # the same file from the same figures
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    for column, (name, points) in enumerate(series.items()):
        scale = 1.0 if name == "layers" else 1e6
        for row, (title, keys, unit) in enumerate(
            (("CPU seconds (dotted: wall)", ("cpu_s", "wall_s"), 1.0), ("peak memory, MB", ("peak_bytes",), 1e6))
        ):
            axes = figure.add_subplot(2, 2, 1 + 2 * row + column)
            for colour, way in zip(COLOURS, WAYS, strict=True):
                own = [point for point in points if point.way == way]
                for key, style in zip(keys, ("-", ":"), strict=False):
                    label = way if key == keys[0] else None
                    values = [getattr(point.cost, key) / unit for point in own]
                    axes.plot(
                        [point.x / scale for point in own],
                        values,
                        style,
                        marker="o",
                        markersize=4,
                        color=colour,
                        label=label,
                    )
            _linear(axes)
            axes.set(xscale="log", yscale="log", xlabel="layers" if name == "layers" else "size of the file, MB")
            axes.set_title(f"{title} by {name}", loc="left", fontsize=11, color=INK, weight="bold")
            axes.grid(color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


def _linear(axes: object) -> None:
    """A grey line of slope 1 through the last point of the first series."""
    line = axes.lines[0]  # type: ignore[attr-defined]
    x, y = line.get_xdata(), line.get_ydata()
    axes.plot(x, [y[-1] * value / x[-1] for value in x], color="#999999", linewidth=1, linestyle="--", label="linear")  # type: ignore[attr-defined]


def main() -> None:
    """Measures, prints and draws; or draws again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--draw", type=Path, help="figures of an earlier run, to be drawn again")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/convert-sizes.svg"))
    given = parser.parse_args()
    if given.draw:
        kept = json.loads(given.draw.read_text())["series"]
        series = {name: [Point(**{**row, "cost": Cost(**row["cost"])}) for row in rows] for name, rows in kept.items()}
    else:
        start = time.perf_counter()
        series = {
            "layers": measured(deep_networks(), given.runs, by_size=False),
            "size": measured(wide_networks(), given.runs, by_size=True),
        }
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        figures = {
            "machine": machine,
            "runs": given.runs,
            "series": {k: list(map(asdict, v)) for k, v in series.items()},
        }
        given.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
        print(f"{time.perf_counter() - start:.0f} s on {machine}; exponents between neighbours:")
    for name, points in series.items():
        for way in WAYS:
            for what in ("wall_s", "cpu_s", "peak_bytes"):
                print(f"{name:7}{way:18}{what:11}", *(f"{power:6.2f}" for power in exponents(points, way, what)))
    draw(series, given.output)


if __name__ == "__main__":
    main()
