"""Options that several commands share: what a person says of a checkpoint that its file may not show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from weight_transfer.conversion.identify import Hints
from weight_transfer.dialects import DIALECTS
from weight_transfer.errors import ArchitectureError

PANEL = "What the file may not show"


def complete_dialect(incomplete: str) -> list[tuple[str, str]]:
    """Completes ``--dialect`` with each dialect's title."""
    return [(key, dialect.title) for key, dialect in DIALECTS.items() if key.startswith(incomplete)]


CheckpointFile = Annotated[
    Path, typer.Argument(metavar="FILE", show_default=False, help="A Keras checkpoint: .h5, .keras, .weights.h5, ...")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
DialectKey = Annotated[
    str | None,
    typer.Option(
        "--dialect",
        help=f"Whose names and conventions: {', '.join(DIALECTS)}.",
        autocompletion=complete_dialect,
        rich_help_panel=PANEL,
    ),
]
Depth = Annotated[
    int | None, typer.Option("--depth", help="The whole network's depth: 18, 34, 50, 101, 152.", rich_help_panel=PANEL)
]
InputSize = Annotated[
    str | None,
    typer.Option("--input-size", metavar="HxW", help="Input size, such as 224x224.", rich_help_panel=PANEL),
]
PoolingMode = Annotated[
    Literal["avg", "max"] | None,
    typer.Option("--pooling", help="Global pooling of a network without a classifier.", rich_help_panel=PANEL),
]
Epsilon = Annotated[
    float | None, typer.Option("--epsilon", help="Added to every batch norm's variance.", rich_help_panel=PANEL)
]
StrideIn = Annotated[
    Literal["1x1", "3x3"] | None,
    typer.Option("--stride-in", help="Which convolution of a bottleneck strides.", rich_help_panel=PANEL),
]
StemPadding = Annotated[
    Literal["zeros", "same"] | None,
    typer.Option("--stem-padding", help="Around the 7x7.", rich_help_panel=PANEL),
]
PoolPadding = Annotated[
    Literal["zeros", "same", "none"] | None,
    typer.Option("--pool-padding", help="Around the stem's max pool.", rich_help_panel=PANEL),
]
PreprocessingMode = Annotated[
    Literal["caffe", "tf", "torch", "none"] | None,
    typer.Option("--preprocessing", help="Of an RGB image in 0..255 before the network.", rich_help_panel=PANEL),
]


def hints_of(
    dialect: str | None,
    depth: int | None,
    input_size: str | None,
    pooling: str | None,
    **conventions: object,
) -> Hints:
    """Gathers the options that were given.

    Raises:
        ArchitectureError: A value is impossible.
    """
    return Hints(
        dialect=dialect,
        depth=depth,
        in_shape=_size(input_size),
        pooling=pooling,
        conventions={name: value for name, value in conventions.items() if value is not None},
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise ArchitectureError(f"--input-size must be HxW, such as 224x224. Received: {text!r}")
    return int(match[1]), int(match[2])
