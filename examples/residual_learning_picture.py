"""Draws what `residual_learning.py` measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator, PercentFormatter

COLOURS = {"plain": ("#dd7a5a", "#a8301b"), "residual": ("#5b9bd0", "#114a7c")}  # shallow, deep
INK, QUIET = "#22262b", "#68707a"
STYLE = {
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": "#b6bcc3",
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef0",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
}
Run = Mapping[str, Any]
Label = tuple[float, float, str, str]  # x, y, text, colour


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Writes the picture.

    Args:
        found: What the example prints as JSON.
        path: PNG, SVG or PDF by its ending.
    """
    settings = found["settings"]
    subtitle = (
        f"{settings['images']:,} images of {settings['size']} x {settings['size']}, {settings['epochs']} epochs, "
        f"SGD with momentum at {settings['learning_rate']:g}. Plain is residual without its shortcuts."
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 9.6), facecolor="white")
        figure.text(0.06, 0.958, "Plain and residual networks on CIFAR-10", fontsize=18, fontweight="bold")
        figure.text(0.06, 0.929, subtitle, color=QUIET)
        grid = figure.add_gridspec(2, 2, left=0.06, right=0.985, top=0.83, bottom=0.06, hspace=0.42, wspace=0.15)
        training_errors(figure.add_subplot(grid[0, 0]), found["runs"])
        gradient_norms(figure, grid[0, 1], found["runs"])
        gradient_through_a_stack(figure.add_subplot(grid[1, 0]), found)
        three_cases(figure.add_subplot(grid[1, 1]), found)
        figure.savefig(path, dpi=110)


def training_errors(axes: Axes, runs: Sequence[Run]) -> None:
    """A line for each network."""
    entitle(axes, "Training error", "Share of images classified wrongly while training on them, epoch by epoch.")
    labels = []
    for run, colour in coloured(runs):
        epochs = range(1, len(run["errors"]) + 1)
        axes.plot(epochs, run["errors"], color=colour, marker="o", markersize=4)
        labels.append((epochs[-1], run["errors"][-1], name(run), colour))
    axes.set_ylim(0, 1)
    axes.set_xlim(0.9, 1 + max(1, len(runs[0]["errors"]) - 1) * 1.22)
    axes.set_xlabel("epoch")
    axes.set_xticks(range(1, len(runs[0]["errors"]) + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    label_ends(axes, labels)


def gradient_norms(figure: Figure, place: SubplotSpec, runs: Sequence[Run]) -> None:
    """The same lines before and after training, on one scale."""
    columns = place.subgridspec(1, 2, wspace=0.06)
    first: Axes | None = None
    for column, (key, when) in enumerate((("gradients_at_start", "before"), ("gradients_at_end", "after"))):
        axes = figure.add_subplot(columns[column], sharey=first)
        for run, colour in coloured(runs):
            norms = run[key]
            axes.plot(range(1, len(norms) + 1), norms, color=colour, label=name(run))
        axes.set_yscale("log")
        axes.text(0.98, 0.97, f"{when} training", transform=axes.transAxes, ha="right", va="top", fontweight="bold")
        axes.set_xlim(0, max(len(run[key]) for run in runs) + 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, prune="upper"))
        if first is None:
            first = axes
            entitle(
                axes, "Gradient of each 3x3 convolution", "Norm of the loss's gradient for its kernel, on one batch."
            )
            axes.set_xlabel("convolutions, counted from the image", loc="left")
        else:
            axes.tick_params(labelleft=False)
            axes.legend(
                frameon=False, loc="upper right", bbox_to_anchor=(1, 0.93), labelcolor="linecolor", handlelength=1.2
            )


def gradient_through_a_stack(axes: Axes, found: Mapping[str, Any]) -> None:
    """How much of a gradient is left behind k blocks, for weaker and weaker F."""
    block = found["block_with_zero_residual"]
    entitle(
        axes,
        "Gradient behind k identity blocks",
        f"F scaled down. F = 0: max |H(x) - x| = {block['max_difference']:g}; a plain block lets nothing through.",
    )
    labels: list[Label] = []
    strengths = sorted(found["gradient_through_a_stack"]["plain"], key=float)
    for kind, (_, colour) in COLOURS.items():
        for number, strength in enumerate(strengths):
            norms = found["gradient_through_a_stack"][kind][strength]
            if norms[1] == 0:
                continue  # nothing left behind the first block: no place on a logarithmic scale
            axes.plot(norms, color=colour, alpha=1 - 0.22 * number, linewidth=2)
            if kind == "plain":
                labels.append((len(norms) - 1, norms[-1], f"plain, F x {float(strength):g}", colour))
    axes.set_yscale("log")
    axes.set_xlim(0, (len(norms) - 1) * 1.22)
    axes.set_xlabel("blocks")
    label_ends(axes, labels)
    together = " to ".join(f"{float(strength):g}" for strength in (strengths[0], strengths[-1]))
    label_ends(axes, [(len(norms) - 1, 1.0, f"residual,\nF x {together}", COLOURS["residual"][1])])


def three_cases(axes: Axes, found: Mapping[str, Any]) -> None:
    """The tutorial's table, with what was measured."""
    entitle(
        axes,
        "Three cases, and the cure",
        "2 shows how good 3 could be, if it learned to do nothing.",
    )
    axes.axis("off")
    shallow, deep = found["settings"]["depths"]
    error = {(run["kind"], run["depth"]): f"{run['errors'][-1]:.1%}" for run in found["runs"]}
    same = found["identity_layers"]["max_difference"]
    as_1 = f"{error['plain', shallow]}, logits equal" if same == 0 else f"logits differ by {same:g}"
    rows = [
        ("1", f"a shallow network: plain-{shallow}", str(shallow), error["plain", shallow], "plain", 0),
        ("2", "1 and identity layers", str(deep), as_1, "plain", 0),
        ("3", f"1 and plain convolutions: plain-{deep}", str(deep), error["plain", deep], "plain", 1),
        ("", f"1 with shortcuts: residual-{shallow}", str(shallow), error["residual", shallow], "residual", 0),
        ("", f"3 with shortcuts: residual-{deep}", str(deep), error["residual", deep], "residual", 1),
    ]
    columns = (0.0, 0.05, 0.57, 0.68)
    for x, text in zip(columns, ("", "network", "layers", "training error"), strict=True):
        axes.text(x, 0.93, text, color=QUIET, transform=axes.transAxes)
    for number, (case, network, layers, measured, kind, shade) in enumerate(rows):
        y = 0.79 - 0.175 * number
        axes.plot((0, 1), (y + 0.085,) * 2, color="#e3e6e9", linewidth=1, transform=axes.transAxes)
        for x, text in zip(columns, (case, network, layers, measured), strict=True):
            bold = x in (columns[0], columns[-1])
            axes.text(
                x,
                y,
                text,
                transform=axes.transAxes,
                va="center",
                fontsize=11.5,
                fontweight="bold" if bold else "normal",
                color=COLOURS[kind][shade] if bold else INK,
            )


def coloured(runs: Iterable[Run]) -> list[tuple[Run, str]]:
    """Light for the shallow network, dark for the deep one."""
    runs = list(runs)
    deepest = max(run["depth"] for run in runs)
    return [(run, COLOURS[run["kind"]][run["depth"] == deepest]) for run in runs]


def name(run: Run) -> str:
    """``plain-8``."""
    return f"{run['kind']}-{run['depth']}"


def entitle(axes: Axes, heading: str, explained: str) -> None:
    """A heading, and a line that says how to read the panel."""
    axes.text(0, 1.125, heading, transform=axes.transAxes, fontsize=13, fontweight="bold")
    axes.text(0, 1.05, explained, transform=axes.transAxes, color=QUIET)


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Writes each label right of its line's end, moved up where it would touch the one below."""
    to_pixels = axes.transData.transform
    line_height = 17 * axes.figure.dpi / 100
    free = float("-inf")
    for x, y, text, colour in sorted(labels, key=lambda label: label[1]):
        pixel = to_pixels((x, y))[1]
        free = max(pixel, free + line_height)
        offset = (free - pixel) * 72 / axes.figure.dpi
        place = {"xytext": (7, offset), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, (x, y), color=colour, fontweight="bold", fontsize=10, annotation_clip=False, **place)
