"""The network as a drawing: a box for each layer's output, in the colour of the evidence that there is of it.

Layers stand below what they read. Beside the longest path stand shorter ones: the projection of a residual block, or a
line where it adds its input as it is. A long network goes on in the next column, where a single layer is all that the
rest of it reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.report import LAYER_CHECKS, NetworkLayer, Row, Verification, layer_of
from weight_transfer.parity.verdict_text import shortened
from weight_transfer.report.formats import number, visible

Evidence = Literal["exact", "rounded", "images", "nothing", "fed", "differs"]
# By evidence, what the legend says of it; style.css has the colours.
LEGEND: Mapping[Evidence, str] = {
    "exact": "bit-equal on integers",
    "rounded": "equal but for rounding",
    "images": "equal on images alone",
    "nothing": "not compared",
    "fed": "equal by itself, and fed what differs",
    "differs": "differs",
}
WIDTH, HEIGHT = 138, 16  # of a box
ROW, LANE, COLUMN_GAP = 22, 152, 26
MARGIN = 8
LETTERS = 21  # of a name that are shown
MOST_COLUMNS = 3
FEWEST_ROWS = 24  # of a column, before there is another


@dataclass(frozen=True)
class Place:
    """Where a box stands, in boxes."""

    column: int
    row: int
    lane: int


def layer_graph(found: Verification) -> str:
    """Returns the drawing as an ``<svg>`` element; nothing where the network is not known."""
    layers = {layer.name: layer for layer in found.layers}
    if not layers:
        return ""
    columns = _columns(list(layers.values()))
    places: dict[str, Place] = {}
    lanes = []
    for column, names in enumerate(columns):
        placed, count = _placed([layers[name] for name in names])
        places |= {name: Place(column, row, lane) for name, (row, lane) in placed.items()}
        lanes.append(count)
    starts = [MARGIN + sum(LANE * count + COLUMN_GAP for count in lanes[:column]) for column in range(len(lanes))]
    corners = {
        name: (starts[place.column] + place.lane * LANE, MARGIN + place.row * ROW) for name, place in places.items()
    }
    width = starts[-1] + LANE * lanes[-1]
    height = 2 * MARGIN + ROW * (1 + max(place.row for place in places.values()))
    rows = _rows_by_layer(found)
    others = {one.layer for one in (*found.wiring_differing, *found.fields_differing)}
    others |= {name.rpartition("/")[0] for name in found.weights_differing}
    lines = [
        _line(corners[fed], corners[name], places[fed], places[name])
        for name, layer in layers.items()
        for fed in layer.inputs
        if fed in corners
    ]
    boxes = [_box(layer, corners[name], rows.get(name, []), name in others) for name, layer in layers.items()]
    label = f"{len(layers):,} layers, each in the colour of the evidence that there is of it"
    return (
        f'<svg viewBox="0 0 {width} {height}" style="max-width: {width}px" role="img" aria-label="{label}" '
        f'class="graph">{"".join(lines)}{"".join(boxes)}</svg>'
    )


def evidence_of(rows: Sequence[tuple[int, Row]], *, is_other: bool = False) -> Evidence:
    """Returns the best that is known of a layer's output, or that it differs.

    Args:
        rows: Of the layer, each with its place among all rows.
        is_other: Whether it holds other arrays than in Keras, says otherwise, or is computed from other outputs.
    """
    differing = [row for _, row in rows if row.differs]
    by_itself = [row for _, row in rows if row.check in LAYER_CHECKS]
    if is_other or (differing and not (by_itself and all(row.passed for row in by_itself))):
        return "differs"
    if differing:
        return "fed"
    exact = [row for _, row in rows if row.check == "exact" and row.passed]
    if exact:
        return "exact" if all(row.limits["float64"] == 0.0 for row in exact) else "rounded"
    return "images" if any(row.proves for _, row in rows if row.check in ("inference", "predict")) else "nothing"


def _rows_by_layer(found: Verification) -> dict[str, list[tuple[int, Row]]]:
    by_layer: dict[str, list[tuple[int, Row]]] = {}
    for place, row in enumerate(found.rows):
        by_layer.setdefault(layer_of(row.check, row.name).removesuffix(logits_name("")), []).append((place, row))
    return by_layer


def _columns(layers: Sequence[NetworkLayer]) -> list[list[str]]:
    """Cuts a network, in the order of execution, where a single output is all that what follows reads."""
    last_read = {layer.name: number for number, layer in enumerate(layers)}
    known = frozenset(last_read)
    last_read |= {fed: number for number, layer in enumerate(layers) for fed in layer.inputs if fed in known}
    furthest = itertools.accumulate((last_read[layer.name] for layer in layers), max)
    # Behind a cut every layer reads the one before it, or a later one.
    cuts = [number + 1 for number, reach in enumerate((-1, *furthest)) if reach <= number < len(layers) - 1]
    count = min(MOST_COLUMNS, max(1, len(layers) // FEWEST_ROWS))
    wanted = (len(layers) * part / count for part in range(1, count))
    nearest = ((min(cuts, key=lambda cut: abs(cut - place), default=0), place) for place in wanted)
    chosen = {cut for cut, place in nearest if abs(cut - place) <= len(layers) / (2 * count)}
    starts = sorted({0, *chosen})
    ends = [*starts[1:], len(layers)]
    return [[layer.name for layer in layers[start:end]] for start, end in zip(starts, ends, strict=True) if start < end]


def _placed(layers: Sequence[NetworkLayer]) -> tuple[dict[str, tuple[int, int]], int]:
    """The row and the lane of each layer of a column, and how many lanes there are.

    A lane is taken from the row below what a path reads to the row above what reads it, so that no line crosses a box.
    """
    rows: dict[str, int] = {}
    readers: dict[str, list[str]] = {}
    for layer in layers:
        here = [fed for fed in layer.inputs if fed in rows]
        rows[layer.name] = 1 + max((rows[fed] for fed in here), default=-1)
        for fed in here:
            readers.setdefault(fed, []).append(layer.name)
    # Below a layer stands the reader from which the longest path goes on.
    height: dict[str, int] = {}
    for layer in reversed(layers):
        height[layer.name] = 1 + max((height[name] for name in readers.get(layer.name, ())), default=0)
    taken: list[list[tuple[int, int]]] = []
    lanes: dict[str, int] = {}
    for first in sorted((layer.name for layer in layers), key=lambda name: (rows[name], -height[name])):
        if first in lanes:
            continue
        path = list(_path(first, readers, height, lanes, rows))
        start, end = rows[path[0]], rows[path[-1]]
        merging = [rows[name] - 1 for name in readers.get(path[-1], ())]
        span = start, max([end, *merging])
        lane = next((n for n, spans in enumerate(taken) if all(span[1] < a or b < span[0] for a, b in spans)), None)
        if lane is None:
            lane = len(taken)
            taken.append([])
        taken[lane].append(span)
        lanes |= dict.fromkeys(path, lane)
    return {name: (row, lanes[name]) for name, row in rows.items()}, len(taken)


def _path(
    first: str,
    readers: Mapping[str, Sequence[str]],
    height: Mapping[str, int],
    lanes: Mapping[str, int],
    rows: Mapping[str, int],
) -> Iterator[str]:
    """The longest path down from a layer, as far as no other path has it."""
    name: str | None = first
    while name is not None:
        yield name
        below = [one for one in readers.get(name, ()) if one not in lanes and rows[one] == rows[name] + 1]
        name = max(below, key=lambda one: height[one], default=None)


def _line(start: tuple[int, int], end: tuple[int, int], above: Place, below: Place) -> str:
    """From the foot of a box to the head of another: straight, round a corner, or past what stands between."""
    (x, y), (to_x, to_y) = start, end
    x, to_x, y = x + WIDTH // 2, to_x + WIDTH // 2, y + HEIGHT
    gap = ROW - HEIGHT
    if above.column != below.column:
        side = to_x - WIDTH // 2 - COLUMN_GAP // 2
        way = f"M{x} {y}v{gap // 2}H{side}V{to_y - gap // 2}H{to_x}v{gap // 2}"
    elif x == to_x and below.row > above.row + 1:
        side = x + WIDTH // 2 + (LANE - WIDTH) // 2
        way = f"M{x} {y}v{gap // 2}H{side}V{to_y - gap // 2}H{to_x}v{gap // 2}"
    elif x == to_x:
        way = f"M{x} {y}V{to_y}"
    elif to_x > x:
        way = f"M{x} {y}v{gap // 2}H{to_x}V{to_y}"
    else:
        way = f"M{x} {y}V{to_y - gap // 2}H{to_x}v{gap // 2}"
    return f'<path d="{way}"/>'


def _box(layer: NetworkLayer, corner: tuple[int, int], rows: Sequence[tuple[int, Row]], is_other: bool) -> str:
    from markupsafe import escape

    evidence = evidence_of(rows, is_other=is_other)
    shown = visible(layer.name)
    said = [f"{shown} ({visible(layer.class_name)})" if layer.class_name else shown, LEGEND[evidence]]
    said += [
        f"{row.check}: {', '.join(f'{precision} {number(error)}' for precision, error in row.errors.items())}"
        for _, row in rows
        if row.check in ("exact", "inference", "training")
    ]
    x, y = corner
    box = (
        f'<g class="{evidence}"><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="3"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + 12}">{escape(shortened(shown, LETTERS))}</text>'
        f"<title>{escape(chr(10).join(said))}</title></g>"
    )
    return f'<a href="#row-{rows[0][0]}" tabindex="-1">{box}</a>' if rows else box
