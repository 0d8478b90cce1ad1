"""``weight-transfer verify``: the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from weight_transfer.cli import options
from weight_transfer.cli.terminal import facts, out, print_json, progress
from weight_transfer.parity.report import TapRow, Verification
from weight_transfer.parity.verify import verify

DIFFERS = 1


def verify_command(
    file: options.CheckpointFile,
    converted: Annotated[
        Path | None,
        typer.Argument(metavar="[CONVERTED]", help="Its port; left out, the checkpoint is converted on the way."),
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda", "all"], typer.Option("--device", help="Where the port runs; all takes what is there.")
    ] = "all",
    json: options.AsJson = False,
    dialect: options.DialectKey = None,
    depth: options.Depth = None,
    input_size: options.InputSize = None,
    pooling: options.PoolingMode = None,
    epsilon: options.Epsilon = None,
    stride_in: options.StrideIn = None,
    stem_padding: options.StemPadding = None,
    pool_padding: options.PoolPadding = None,
    preprocessing: options.PreprocessingMode = None,
) -> None:
    """Run Keras and the port on the same inputs and compare every block; exit 0 if equal, 1 if not."""
    hints = options.hints_of(
        dialect,
        depth,
        input_size,
        pooling,
        epsilon=epsilon,
        stride_in=stride_in,
        stem_padding=stem_padding,
        pool_padding=pool_padding,
        preprocessing=preprocessing,
    )
    with progress(quiet=json) as bar:
        found = verify(file, converted, hints, ("cpu", "cuda") if device == "all" else (device,), on_progress=bar)
    print_json(found.to_dict()) if json else print_verification(found)
    if not found.passed:
        raise typer.Exit(DIFFERS)


def print_verification(found: Verification) -> None:
    """Prints what was compared, a row per tap, and the verdict."""
    note = "" if found.reference == "file" else " (a weights-only file holds no model of its own)"
    out.print(
        facts(
            {
                "reference": escape(found.loaded_by) + note,
                "inputs": "; ".join(found.inputs),
                "weights": f"{found.weights_equal} of {found.weights_total} arrays bit-equal",
                "not in the file": ", ".join(found.assumed),
            }
        )
    )
    out.print(_table(found))
    out.print(_verdict(found))


def _table(found: Verification) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("tap", "shape", "peak", "float64", "float32", "Keras float32", ""):
        table.add_column(heading, justify="left" if heading in ("tap", "shape", "") else "right")
    devices = {row.device for row in found.rows}
    for row in found.rows:
        table.add_row(
            row.tap + (f" ({row.device})" if len(devices) > 1 else ""),
            " x ".join(map(str, row.shape[1:])),
            f"{row.peak:.3g}",
            _number(row, "float64"),
            _number(row, "float32"),
            f"{row.noise:.1e}",
            "[green]equal[/]" if row.passed else "[red]DIFFERS[/]",
        )
    return table


def _number(row: TapRow, dtype: str) -> str:
    text = f"{row.errors[dtype]:.1e}"
    return text if row.errors[dtype] <= row.limits[dtype] else f"[red]{text} > {row.limits[dtype]:.1e}[/]"


def _verdict(found: Verification) -> str:
    worst = {dtype: found.worst(dtype) for dtype in ("float64", "float32")}
    summary = ", ".join(f"{dtype} at most {row.errors[dtype]:.1e} ({row.tap})" for dtype, row in worst.items())
    if found.passed:
        return f"[bold green]EQUAL[/]: {summary} of the peak"
    first = found.first_divergence
    where = f"first at {first.tap}" if first else f"in the weights: {', '.join(found.weights_differing[:3])}"
    return f"[bold red]DIFFERS[/], {where}: {summary} of the peak"
