"""``curves``: a picture of trainings."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.markup import escape

from weight_transfer.cli.terminal import out
from weight_transfer.input_files import protect_inputs
from weight_transfer.training.curves import draw_curves, read_curve


@click.command("curves", epilog="Example: weight-transfer curves runs/keras runs/torch -o curves.png")
@click.argument("runs", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A .png, .svg or .pdf to write.")
def curves_command(runs: tuple[str, ...], output: Path) -> None:
    """Draw the curves of RUNS: run folders or history.csv files, LABEL=RUN to name one.

    Runs of one label, by default of one framework, are taken for seeds of the same training: a mean and a band.
    """
    curves = [read_curve(run) for run in runs]
    protect_inputs([output], [curve.source for curve in curves])
    draw_curves(curves, output)
    out.print(f"wrote {escape(str(output))}", soft_wrap=True)
