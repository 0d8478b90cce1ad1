"""``weight-transfer record``: Keras's answers, for machines without Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape

from weight_transfer.cli import options
from weight_transfer.cli.terminal import bytes_text, facts, out, print_json, progress
from weight_transfer.parity.reference import record
from weight_transfer.parity.runner import Runner
from weight_transfer.parity.sketch import COMPACT, LIVE


@click.command("record", epilog="Example: weight-transfer record resnet50.h5 -o resnet50.reference.safetensors")
@options.checkpoint_file
@click.option("-o", "--output", type=options.PathOf, required=True, help="The recording to write.")
@click.option("--whole", is_flag=True, help="Keep tensors up to 2M elements whole: 0.7 GB for a ResNet-50.")
@click.option("--quick", is_flag=True, help="For verify --quick: leaves out most of the integers.")
@options.photographs
@options.as_json
@options.about_the_file_without("--crop")
@options.with_runner
def record_command(
    file: Path, output: Path, whole: bool, quick: bool, photographs: int, json: bool, runner: Runner, **said: Any
) -> None:
    """Run Keras once and write down what every layer gives: outputs, loss, gradients, statistics.

    `weight-transfer verify --reference` then compares a port with it where there is no Keras.
    """
    with progress(quiet=json) as bar:
        detail = LIVE if whole else COMPACT
        found = record(file, output, options.hints_of(**said), detail, photographs, bar, runner, quick=quick)
    size_bytes = output.stat().st_size
    if json:
        print_json(
            {
                "output": str(output),
                "size_bytes": size_bytes,
                "source_sha256": found.origin.sha256,
                "loaded_by": found.origin.loaded_by,
                "detail": found.detail.name,
                "inputs": [case.name for case in found.cases],
                "tensors": len(found.entries),
            }
        )
        return
    out.print(
        facts(
            {
                "recording": f"{escape(str(output))}, {bytes_text(size_bytes)}",
                "reference": escape(found.origin.loaded_by),
                "inputs": "; ".join(case.name for case in found.cases),
                "tensors": f"{len(found.entries):,}; {found.detail.name}",
                "left out": "; ".join(found.origin.skipped.values()) or "nothing",
            }
        )
    )
