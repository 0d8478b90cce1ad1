"""``weight-transfer verify``: the evidence."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.table import Table

from weight_transfer.cli import options
from weight_transfer.cli.terminal import facts, out, print_json, progress
from weight_transfer.parity.report import TapRow, Verification
from weight_transfer.parity.verify import Device, verify

DIFFERS = 1


DEVICES: Mapping[str, tuple[Device, ...]] = {"cpu": ("cpu",), "cuda": ("cuda",), "all": ("cpu", "cuda")}


@click.command("verify", epilog="Example: weight-transfer verify resnet50.h5 resnet50.safetensors")
@options.checkpoint_file
@click.argument("converted", type=options.PathOf, required=False)
@click.option(
    "--device",
    type=click.Choice(list(DEVICES)),
    default="all",
    show_default=True,
    help="Where the port runs; all takes what is there.",
)
@options.as_json
@options.about_the_file
def verify_command(file: Path, converted: Path | None, device: str, json: bool, **said: Any) -> None:
    """Run Keras and the port on the same inputs and compare every block; exit 0 if equal, 1 if not.

    CONVERTED is the port; left out, the checkpoint is converted on the way.
    """
    with progress(quiet=json) as bar:
        found = verify(file, converted, options.hints_of(**said), DEVICES[device], on_progress=bar)
    print_json(found.to_dict()) if json else print_verification(found)
    if not found.passed:
        sys.exit(DIFFERS)


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
