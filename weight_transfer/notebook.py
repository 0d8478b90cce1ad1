"""Results as a notebook shows them: small HTML tables in the notebook's own style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from weight_transfer.overview import parts_of, shape_text

if TYPE_CHECKING:
    from weight_transfer.graph import Graph


def table_html(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table under a line of text; everything is escaped.

    Args:
        title: The line.
        headings: Of the columns; none for a table without.
        rows: A cell for each column; None is an empty one.
    """
    head = f"<thead><tr>{_cells('th', headings)}</tr></thead>" if headings else ""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<div><strong>{escape(title)}</strong><table>{head}<tbody>{body}</tbody></table></div>"


def _cells(tag: str, values: Sequence[object]) -> str:
    texts = ("" if value is None else escape(str(value)) for value in values)
    return "".join(f"<{tag}>{text}</{tag}>" for text in texts)


def network_html(network: Graph) -> str:
    """Returns a row for the stem, each stage and the head of a network."""
    rows = [
        (
            part.name,
            part.blocks or None,
            part.convolutions,
            shape_text(part.out_shape),
            f"{part.num_parameters:,}",
        )
        for part in parts_of(network)
    ]
    headings = ("part", "blocks", "a block's layers", "output", "parameters")
    return table_html(network.title or "a network", headings, rows)
