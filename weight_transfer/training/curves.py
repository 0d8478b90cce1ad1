"""Training curves as a picture: loss and accuracy by epoch, of one run or of several frameworks and seeds."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from weight_transfer.atomic import atomic_write
from weight_transfer.errors import TransferError
from weight_transfer.training.history import History, read_history
from weight_transfer.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
TITLES: Mapping[str, str] = {"resnet_keras": "Keras", "resnet_torch": "PyTorch"}
# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
COLOURS: Mapping[str, str] = {"Keras": "#D55E00", "PyTorch": "#0072B2"}
OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, GRID = "#333333", "#E4E4E4"
MOST_RATES = 5  # that can stand beside the axis by their numbers
PANELS = (("loss", "loss"), ("accuracy", "accuracy"))


@dataclass(frozen=True)
class Curve:
    """One run's history.

    Attributes:
        label: Runs of one label are seeds of the same training: a mean and a band.
        history: What happened.
        source: The file that says so, where it is read from one.
    """

    label: str
    history: History
    source: Path | None = None


def read_curve(text: str) -> Curve:
    """Reads a run folder or a ``history.csv``, with a label of one's own before it if it is ``LABEL=PATH``.

    Raises:
        TransferError: It is neither.
    """
    label, given, place = text.partition("=")
    if not given or Path(text).exists():
        label, place = "", text
    path = Path(place)
    folder = RunFolder(path if path.is_dir() else path.parent)
    if not label:
        known = folder.recipe.exists()
        label = TITLES[folder.read()[1]] if known else folder.path.resolve().name
    source = folder.history if path.is_dir() else path
    return Curve(label, read_history(source), source)


def draw_run(history: History, folder: RunFolder, package: str, note: Callable[[str], None]) -> None:
    """Draws a run's own picture into its folder; where that fails, it is noted: the training itself is done.

    Args:
        history: Of the run.
        folder: Of the run.
        package: The side that trained.
        note: Told why there is no picture.
    """
    try:
        draw_curves([Curve(TITLES[package], history)], folder.curves)
    except TransferError as error:
        note(f"no curves: {error}")


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draws a picture.

    Args:
        curves: At least one, each of at least one epoch.
        path: Ends in .png, .svg or .pdf.

    Raises:
        TransferError: There is nothing to draw, matplotlib is missing, or the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise TransferError(f"{path}: a picture's name ends in one of {', '.join(FORMATS)}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise TransferError(
            "curves need matplotlib, not installed. Install it: pip install 'keras-resnet-to-torch[train]'"
        )
    drawn = [curve for curve in curves if len(curve.history)]
    if not drawn:
        raise TransferError("there is no epoch to draw. Expected histories of at least one.")
    figure = _figure(drawn)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts that lack a letter of a label
        figure.savefig(picture, format=path.suffix[1:].lower(), dpi=144, facecolor="white")
    with atomic_write(path) as temporary:
        temporary.write_bytes(picture.getvalue())


def _figure(curves: Sequence[Curve]) -> Figure:
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(curve.label for curve in curves))
    groups = {label: [curve.history for curve in curves if curve.label == label] for label in labels}
    rates_change = any(len(set(history.column("learning_rate"))) > 1 for own in groups.values() for history in own)
    figure = Figure(figsize=(9.6, 5.2 if rates_change else 3.9), layout="constrained")
    grid = figure.add_gridspec(2 if rates_change else 1, 2, height_ratios=[3, 1] if rates_change else [1])
    colours = _colours(labels)
    for column, (name, title) in enumerate(PANELS):
        axes = figure.add_subplot(grid[0, column])
        for label, histories in groups.items():
            _line(axes, histories, name, colours[label], dashed=True)
            _line(axes, histories, f"val_{name}", colours[label], dashed=False)
        _dress(axes, title, curves)
        if name == "accuracy":
            axes.set_ylim(0, 1)
        else:
            _limit_loss(axes, curves)
    if rates_change:
        _rates(figure.add_subplot(grid[1, :]), groups, colours)
    _legend(figure, groups, colours)
    return figure


def _colours(labels: Sequence[str]) -> dict[str, str]:
    others = iter(OTHER_COLOURS * len(labels))
    return {label: COLOURS.get(label) or next(others) for label in labels}


def _line(axes: Axes, histories: Sequence[History], name: str, colour: str, dashed: bool) -> None:
    """A mean, and the band from the least to the largest where there are several seeds."""
    rows = _table(histories, name)
    if np.isnan(rows).all():
        return
    epochs = np.arange(1, rows.shape[1] + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an epoch without a number has no mean
        middle, low, high = np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0)
    style: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.3, "alpha": 0.9} if dashed else {"linewidth": 2}
    marker = "o" if rows.shape[1] == 1 else None
    axes.plot(epochs, middle, color=colour, marker=marker, **style)
    if len(rows) > 1:
        axes.fill_between(epochs, low, high, color=colour, alpha=0.10 if dashed else 0.18, linewidth=0)


def _table(histories: Sequence[History], name: str) -> npt.NDArray[np.float64]:
    """(seeds, epochs), NaN where a seed stopped earlier."""
    longest = max(len(history) for history in histories)
    rows = np.full((len(histories), longest), np.nan)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history)] = history.column(name)
    return rows


def _limit_loss(axes: Axes, curves: Sequence[Curve]) -> None:
    """A validation loss can begin hundreds of times too high, while the moving statistics are young: cut it off."""
    train, known = (
        np.array([n for curve in curves for n in curve.history.column(name) if np.isfinite(n)])
        for name in ("loss", "val_loss")
    )
    top = axes.get_ylim()[1]
    highest = max(train.max(initial=0.0), np.median(known) if known.size else 0.0)
    limit = 1.6 * highest if highest > 0 else top
    axes.set_ylim(0, min(top, limit))
    if top > limit and known.size:
        said = f"validation up to {known.max():.3g}, cut off"
        axes.text(0.98, 0.95, said, transform=axes.transAxes, ha="right", fontsize=8, color="#777777")


def _rates(axes: Axes, groups: Mapping[str, Sequence[History]], colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import NullFormatter

    for label, histories in groups.items():
        for history in histories:
            rates = history.column("learning_rate")
            axes.step(range(1, len(rates) + 1), rates, where="mid", color=colours[label], linewidth=1.4, alpha=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    rates = sorted({rate for own in groups.values() for history in own for rate in history.column("learning_rate")})
    if len(rates) <= MOST_RATES:
        axes.set_yticks(rates, [f"{rate:.2g}" for rate in rates])
    _dress(axes, "learning rate", [Curve(label, one) for label, own in groups.items() for one in own])


def _dress(axes: Axes, title: str, curves: Sequence[Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=11, color=INK, weight="bold")
    axes.set_xlabel("epoch", color=INK, fontsize=9)
    longest = max(len(curve.history) for curve in curves)
    axes.set_xlim(1 - 0.02 * longest, longest * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#999999")


def _legend(figure: Figure, groups: Mapping[str, Sequence[History]], colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    names = {
        label: label if len(own) == 1 else f"{label}, {len(own)} seeds: mean and range" for label, own in groups.items()
    }
    handles = [Line2D([], [], color=colours[label], linewidth=3, label=name) for label, name in names.items()]
    handles += [
        Line2D([], [], color=INK, linewidth=2, label="validation"),
        Line2D([], [], color=INK, linewidth=1.3, linestyle=(0, (4, 2)), label="training"),
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9, labelcolor=INK
    )
