"""The error of every tensor in execution order, on a log axis, with the gates and Keras's own noise drawn in.

matplotlib to inline SVG: what everyone in the field reads and can install, and no script or network to show it.
Colours are placeholders that become variables of the page's style, so that one drawing serves light, dark and paper.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from weight_transfer.parity.groups import Group, precisions
from weight_transfer.parity.report import Check, Row, Verification
from weight_transfer.report.formats import limit, number, shape, visible
from weight_transfer.report.summary import OWN_FLOAT32, caption
from weight_transfer.report.svg import Target, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each a colour that nothing else in the drawing has, and the variable of style.css that takes its place.
COLOURS: Mapping[str, str] = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--band)",
    "#050505": "var(--noise)",
    "#060606": "var(--differs)",
    "#070707": "var(--series-0)",
    "#080808": "var(--series-1)",
    "#090909": "var(--series-2)",
    "#0a0a0a": "var(--series-3)",
}
# Whose inputs the rows of a check are computed from.
OUTPUTS: Mapping[Check, Check] = {
    "inference": "inference",
    "exact": "exact",
    "local output": "local output",
    "local gradient": "local output",
    "local statistics": "local output",
}
INK, MUTED, RULE, BAND, NOISE, DIFFERS, *SERIES = COLOURS
MARKERS = ("o", "s", "^", "D")  # a series is known by its shape too
SETTINGS: Mapping[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.family": "sans-serif",
    "text.parse_math": False,  # a layer may be called $x$
    "axes.unicode_minus": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
MOST_BANDS = 12
LETTER_SHARE = 0.6  # of the font's size: the width of a digit
BOLD_SHARE = 0.68  # the same of a bold letter


@dataclass(frozen=True)
class Format:
    """How large a drawing is, in CSS pixels.

    Attributes:
        width: Of all.
        height: Of all.
        left: Of the margin that holds the axis's numbers.
        font: Height of a letter.
        marker: Diameter of a point.
    """

    width: int
    height: int
    left: int
    font: float
    marker: float


WIDE = Format(width=1080, height=340, left=52, font=12.5, marker=4.0)
NARROW = Format(width=400, height=320, left=46, font=12.0, marker=3.0)


@dataclass(frozen=True)
class Key:
    """One entry of the legend.

    Attributes:
        kind: What is drawn: ``point``, ``noise`` or ``differs``; gates carry their names.
        series: Number of the colour and the marker.
        text: What it is.
    """

    kind: str
    series: int
    text: str


@dataclass(frozen=True)
class Chart:
    """A check on a device, drawn.

    Attributes:
        group: What is drawn.
        caption: What it shows, in words.
        keys: The legend.
        wide: ``<svg>`` for a desktop and for paper.
        narrow: ``<svg>`` for a phone.
    """

    group: Group
    caption: str
    keys: tuple[Key, ...]
    wide: str
    narrow: str


def chart(group: Group, found: Verification) -> Chart:
    """Draws the errors of one check on one device.

    Args:
        group: What to draw, at least one row.
        found: Of which it is a part: layers' sizes are looked up there.
    """
    said = visible(caption(group))
    bands = _bands(group, found)
    label = f"{group.title} on {group.device}: error of each tensor in execution order, log axis. {said}"
    wide, narrow = (_draw(group, bands, size, label) for size in (WIDE, NARROW))
    return Chart(group, said, _keys(group), wide, narrow)


def _keys(group: Group) -> tuple[Key, ...]:
    rows = [row for _, row in group.rows]
    keys = []
    for series, precision in enumerate(precisions(rows)):
        keys.append(Key("point", series, precision))
    if any(row.noise is not None for row in rows):
        keys.append(Key("noise", 0, OWN_FLOAT32))
    if group.first_divergence is not None:
        keys.append(Key("differs", 0, "differs"))
    return tuple(keys)


def _draw(group: Group, bands: Sequence[tuple[int, int, str]], size: Format, label: str) -> str:
    """One ``<svg>``; the same text for the same rows."""
    import matplotlib
    from matplotlib.figure import Figure

    salt = f"{group.check} {group.device} {size.width}"  # makes ids differ between the drawings of one page
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's own style
        matplotlib.rcParams.update({**SETTINGS, "font.size": size.font, "svg.hashsalt": salt})
        figure = Figure(figsize=(size.width / 72, size.height / 72))
        axes = figure.add_axes(_box(size))
        rows = [row for _, row in group.rows]
        scale = _Scale(rows)
        _frame(axes, scale, len(rows), size)
        _draw_bands(axes, bands, size, len(rows))
        _draw_lines(axes, rows, scale, size)
        _draw_points(axes, rows, scale, size)
        first = group.first_divergence
        texts = {}
        if first is not None:
            texts["first"] = _fitting(f"first: {visible(rows[first].name)}", first, len(rows), size)
            _mark_first(axes, first, len(rows), size)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=NO_METADATA)
        targets = _targets(group, axes, figure) if size is WIDE else []  # a finger cannot hit one of hundreds
    return inline(written.getvalue(), label, COLOURS, texts, targets)


def _box(size: Format) -> tuple[float, float, float, float]:
    top, bottom, right = 26, 40, 8
    return (
        size.left / size.width,
        bottom / size.height,
        (size.width - size.left - right) / size.width,
        (size.height - top - bottom) / size.height,
    )


class _Scale:
    """The log axis: where a number is drawn, also 0 and infinity."""

    def __init__(self, rows: Sequence[Row]) -> None:
        drawn = [value for row in rows for value in (*row.errors.values(), *row.limits.values(), row.noise or 0.0)]
        logs = [math.log10(value) for value in drawn if value > 0 and math.isfinite(value)] or [-16.0, 0.0]
        low, high = math.floor(min(logs)) - 1, math.ceil(max(logs)) + 1
        self.zeros = any(value == 0 for row in rows for value in row.errors.values())
        self.infinite = any(not math.isfinite(value) for row in rows for value in row.errors.values())
        self.low = 10.0 ** (low - 1 if self.zeros else low)
        self.high = 10.0 ** (high + 1 if self.infinite else high)
        step = 3 if high - low > 7 else 1
        self.ticks = [10.0**power for power in range(low, high + 1) if power % step == 0]

    def place(self, value: float) -> float:
        """Where a number is drawn."""
        if not math.isfinite(value):
            return self.high / 3
        return value if value > 0 else self.low * 3

    def labelled(self) -> tuple[list[float], list[str]]:
        """The axis's numbers and where they stand."""
        places, labels = list(self.ticks), [limit(tick) if tick != 1 else "1" for tick in self.ticks]
        if self.zeros:
            places, labels = [self.place(0.0), *places], ["0", *labels]
        if self.infinite:
            places, labels = [*places, self.place(math.inf)], [*labels, number(math.inf)]
        return places, labels


def _frame(axes: Axes, scale: _Scale, num_rows: int, size: Format) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yscale("log")
    axes.set_ylim(scale.low, scale.high)
    axes.set_xlim(0.5, num_rows + 0.5)
    places, labels = scale.labelled()
    axes.set_yticks(places, labels)
    axes.set_yticks([], minor=True)
    axes.xaxis.set_major_locator(MaxNLocator(12 if size is WIDE else 6, integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("number in execution order, as in the table below", labelpad=5)


def _draw_bands(axes: Axes, bands: Sequence[tuple[int, int, str]], size: Format, num_rows: int) -> None:
    """Grey and clear stripes by spatial size: a ResNet's stages."""
    row_width = (size.width - size.left) / num_rows
    for number_of, (start, stop, text) in enumerate(bands):
        if number_of % 2 == 0:
            axes.axvspan(start + 0.5, stop + 0.5, color=BAND, linewidth=0, zorder=0)
        if len(text) * size.font * LETTER_SHARE < (stop - start) * row_width:
            middle = (start + stop + 1) / 2
            axes.annotate(
                text, (middle, 1), (0, 7), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", color=MUTED, fontsize=size.font - 1,
            )  # fmt: skip


def _draw_lines(axes: Axes, rows: Sequence[Row], scale: _Scale, size: Format) -> None:
    """Keras's own noise and the gates, each a step per tensor."""
    noise = [math.nan if row.noise is None else scale.place(row.noise) for row in rows]
    _step(axes, noise, color=NOISE, linewidth=1.5)
    for series, precision in enumerate(precisions(rows)):
        limits = [row.limits.get(precision, math.nan) for row in rows]
        if all(math.isnan(value) for value in limits):
            continue
        colour = SERIES[series % len(SERIES)]
        places = [gate if math.isnan(gate) else scale.place(gate) for gate in limits]
        _step(axes, places, color=colour, linewidth=1.4, dashes=(5, 3))
        known = [value for value in limits if not math.isnan(value)]
        several = max(known) > min(known)
        axes.annotate(
            f"{precision} gate, from {limit(min(known))}" if several else f"{precision} gate {limit(known[0])}",
            (1, scale.place(known[-1] if math.isnan(limits[-1]) else limits[-1])), (-4, 5),
            xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", color=colour, fontsize=size.font - 1,
        )  # fmt: skip


def _step(axes: Axes, values: Sequence[float], **style: Any) -> None:
    edges = [position + 0.5 for position in range(len(values) + 1)]
    if not all(math.isnan(value) for value in values):
        axes.step(edges, [*values, values[-1]], where="post", **style)


def _draw_points(axes: Axes, rows: Sequence[Row], scale: _Scale, size: Format) -> None:
    for series, precision in enumerate(precisions(rows)):
        drawn = [(place, row) for place, row in enumerate(rows, 1) if precision in row.errors]
        style: dict[str, Any] = {
            "marker": MARKERS[series % len(MARKERS)],
            "color": SERIES[series % len(SERIES)],
            "markersize": size.marker,
            "markeredgewidth": 0,
        }
        _dots(axes, [pair for pair in drawn if not _over(pair[1], precision)], precision, scale, style)
        style = {"marker": "x", "color": DIFFERS, "markersize": size.marker + 2, "markeredgewidth": 1.8, "zorder": 4}
        _dots(axes, [pair for pair in drawn if _over(pair[1], precision)], precision, scale, style)


def _dots(
    axes: Axes, drawn: Sequence[tuple[int, Row]], precision: str, scale: _Scale, style: Mapping[str, Any]
) -> None:
    places = [place for place, _ in drawn]
    heights = [scale.place(row.errors[precision]) for _, row in drawn]
    axes.plot(places, heights, linestyle="none", clip_on=False, **style)


def _over(row: Row, precision: str) -> bool:
    return not row.proves or not row.errors[precision] <= row.limits.get(precision, math.inf)


def _mark_first(axes: Axes, first: int, num_rows: int, size: Format) -> None:
    """A line at the first divergence; its text is put in later, by `inline`."""
    left = first < num_rows / 2
    axes.axvline(first + 1, color=DIFFERS, linewidth=1.2)
    axes.annotate(
        "first", (first + 1, 0), (5 if left else -5, 6), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="left" if left else "right", color=DIFFERS, weight="bold",
        fontsize=size.font, gid="first",
    )  # fmt: skip


def _fitting(text: str, first: int, num_rows: int, size: Format) -> str:
    """The text beside the line, without its middle where it is longer than the chart."""
    share = max(first, num_rows - first) / num_rows
    most = int(share * (size.width - size.left) / (size.font * BOLD_SHARE))
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}\u2026{text[-half:]}"


def _targets(group: Group, axes: Axes, figure: Figure) -> list[Target]:
    """A column per tensor."""
    box = axes.get_window_extent()
    to_units = 72 / figure.dpi
    width = box.width * to_units / len(group.rows)
    return [
        Target(
            x=box.x0 * to_units + position * width,
            y=figure.get_figheight() * 72 - box.y1 * to_units,
            width=width,
            height=box.height * to_units,
            href=f"#row-{place}",
            text=visible(_said(position + 1, row)),
        )
        for position, (place, row) in enumerate(group.rows)
    ]


def _said(position: int, row: Row) -> str:
    parts = [f"{precision} {number(error)}" for precision, error in row.errors.items()]
    if row.noise is not None:
        parts.append(f"{OWN_FLOAT32} {number(row.noise)}")
    return f"{position}. {row.name}: {', '.join(parts)}"


def _bands(group: Group, found: Verification) -> list[tuple[int, int, str]]:
    """Runs of layers with one spatial size, (first, past the last, ``56 × 56``); none where they are no help."""
    sizes = {row.name: row.shape[1:-1] for row in found.of(OUTPUTS.get(group.check, "training"))}
    own = [sizes.get(row.name, sizes.get(row.name.rpartition("/")[0], ())) for _, row in group.rows]
    bands, start = [], 0
    for size, run in groupby(own):
        stop = start + len(list(run))
        bands.append((start, stop, shape(size) if size else ""))
        start = stop
    return bands if 1 < len(bands) <= MOST_BANDS else []
