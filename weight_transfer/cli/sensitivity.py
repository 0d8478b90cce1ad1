"""``weight-transfer sensitivity``: the gate proves itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table

from weight_transfer.cli import options
from weight_transfer.cli.applicability import beside_a_recording, refuse_idle
from weight_transfer.cli.running import DIFFERS
from weight_transfer.cli.terminal import out, print_json, progress
from weight_transfer.parity.fault_injection import sensitivity
from weight_transfer.parity.report import Planted, finite
from weight_transfer.parity.runner import Runner


@click.command("sensitivity", epilog="Example: weight-transfer sensitivity resnet50.h5")
@options.checkpoint_file
@click.option("--reference", type=options.PathOf, help="A recording of FILE (weight-transfer record); needs no Keras.")
@options.as_json
@options.about_the_file_without("--crop")
@options.with_runner
def sensitivity_command(file: Path, reference: Path | None, json: bool, runner: Runner, **said: Any) -> None:
    """Plant known mistakes in the port, one after the other, and show which gates see each; exit 1 if one is missed."""
    refuse_idle(beside_a_recording(reference))
    with progress(quiet=json) as bar:
        found = sensitivity(file, options.hints_of(**said), reference, on_progress=bar, runner=runner)
    missed = [planted for planted in found if planted.seen < len(planted.planted)]
    if json:
        print_json({"planted": finite([asdict(planted) for planted in found]), "passed": not missed})
    else:
        _print(found)
    if missed:
        sys.exit(DIFFERS)


def _print(found: Sequence[Planted]) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("mistake", "planted", "seen", "named", "smallest error", "gate", "float32 sees", "top-1 sees"):
        table.add_column(heading, justify="left" if heading == "mistake" else "right")
    for planted in found:
        count = len(planted.planted)
        seen = f"{planted.seen}" if planted.seen == count else f"[red]{planted.seen}[/]"
        table.add_row(
            planted.title,
            str(count),
            seen,
            str(planted.named),
            f"{planted.smallest_error:.1e}",
            f"{planted.gate:.0e}",
            str(planted.seen_by_float32),
            str(planted.seen_by_top_1),
        )
    out.print(table)
    total = sum(len(planted.planted) for planted in found)
    seen_in_all = sum(planted.seen for planted in found)
    verdict = "[bold green]SEEN[/]" if seen_in_all == total else "[bold red]MISSED[/]"
    named = sum(planted.named for planted in found)
    out.print(
        f"{verdict}: {seen_in_all} of {total} planted mistakes of {len(found)} kinds; layer and cause named right "
        f"for {named}; float32 alone sees {sum(p.seen_by_float32 for p in found)}, "
        f"top-1 {sum(p.seen_by_top_1 for p in found)}"
    )
