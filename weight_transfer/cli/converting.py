"""``weight-transfer convert``: Keras to PyTorch, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape

from weight_transfer.cli import options
from weight_transfer.cli.terminal import bytes_text, facts, out, print_json, progress
from weight_transfer.conversion.convert import Conversion, convert
from weight_transfer.conversion.export import export
from weight_transfer.converted import is_converted


@click.command(
    "convert",
    epilog="Examples: weight-transfer convert resnet50.h5 -o resnet50.safetensors\n\n"
    "weight-transfer convert resnet50.safetensors -o back.keras",
)
@options.checkpoint_file
@click.option("-o", "--output", required=True, type=options.PathOf, help="The file to write.")
@click.option("--weights-only", is_flag=True, help="Back to Keras .h5 without the model's description.")
@options.as_json
@options.about_the_file
def convert_command(file: Path, output: Path, weights_only: bool, json: bool, **said: Any) -> None:
    """Convert a Keras checkpoint to safetensors, or a converted file back to .h5, .weights.h5 or .keras."""
    if is_converted(file):
        written = export(file, output, weights_only=weights_only)
        report = {"output": str(written), "size_bytes": written.stat().st_size}
        print_json(report) if json else out.print(f"wrote {escape(str(written))}", soft_wrap=True)
        return
    with progress(quiet=json) as bar:
        conversion = convert(
            file, output, options.hints_of(**said), lambda done, total: bar("converting", done / total)
        )
    print_json(as_dict(conversion)) if json else print_conversion(conversion)


def as_dict(conversion: Conversion) -> dict[str, object]:
    """Returns a conversion as JSON can hold it."""
    return {
        "output": str(conversion.output),
        "name": f"ResNet-{conversion.architecture.depth}",
        "architecture": conversion.architecture.to_dict(),
        "origin": dict(conversion.origin.__dict__),
        "num_arrays": conversion.num_arrays,
        "num_parameters": conversion.num_parameters,
        "assumed": list(conversion.assumed),
        "skipped": list(conversion.skipped),
    }


def print_conversion(conversion: Conversion) -> None:
    """Prints what was converted and what was assumed."""
    skipped = f"; {len(conversion.skipped)} that are no weights left out" if conversion.skipped else ""
    out.print(
        facts(
            {
                "wrote": f"{escape(str(conversion.output))}, {bytes_text(conversion.output.stat().st_size)}",
                "holds": f"ResNet-{conversion.architecture.depth} ({conversion.architecture.dialect}), "
                f"{conversion.num_parameters:,} parameters",
                "accounted": f"{conversion.num_arrays} of {conversion.num_arrays} arrays read once and written once"
                + skipped,
                "not in the file": ", ".join(conversion.assumed),
            }
        )
    )
