"""Printing: tables for people, JSON for machines, a bar for whoever waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from weight_transfer.description import Description
from weight_transfer.images import WAYS, Crop, ImageLoading, crop_text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Mapping[str, Any]) -> None:
    """Prints one JSON object to standard output."""
    print(json.dumps(value, indent=2))


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """Yields a function of (what, share done); draws a bar on a terminal's stderr, else nothing."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    disable = quiet or not err.is_terminal
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=disable) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def facts(rows: Mapping[str, object]) -> Table:
    """A table of two columns without lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def input_facts(known: Description) -> dict[str, object]:
    """How images become what a network takes, by heading, each with how certain it is."""
    if not known.network.takes_images:
        return {}
    loading = loading_text(known.loading, known.crop, known.image_loading is not None)
    return {"preprocessing": known.preprocessing_text, "image loading": loading}


def loading_text(loading: ImageLoading, crop: Crop, is_known: bool) -> str:
    """``keras: keras.utils.load_img; read by Pillow, ... (known)``."""
    way = WAYS[loading]
    cut = "" if crop is None else f"; {crop_text(crop)}"
    certainty = "known" if is_known else "guessed; --image-loading says otherwise"
    return f"{loading}: {way.title}; {way.words}{cut} ({certainty})"


def bytes_text(size_bytes: int) -> str:
    """``103.1 MB``."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes:,} bytes"


def frozen_fact(frozen: Sequence[str]) -> dict[str, str]:
    """Says how many layers do not learn; nothing where all do."""
    layers = f"{len(frozen)} layer{'s' * (len(frozen) > 1)}"
    return {"frozen": f"{layers} with trainable=False (--unfreeze lets them learn)"} if frozen else {}


def notes(remarks: Sequence[str]) -> dict[str, str]:
    """Returns the line of what a port has otherwise than its file, by its heading; nothing where that is nothing."""
    return {"note": "; ".join(map(escape, remarks))} if remarks else {}
