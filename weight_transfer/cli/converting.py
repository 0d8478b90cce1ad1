"""``weight-transfer convert``: Keras to PyTorch, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from weight_transfer.cli import options
from weight_transfer.cli.terminal import bytes_text, facts, out, print_json, progress
from weight_transfer.conversion.convert import Conversion, convert
from weight_transfer.conversion.export import export
from weight_transfer.converted import is_converted


def convert_command(
    file: options.CheckpointFile,
    output: Annotated[Path, typer.Option("--output", "-o", show_default=False, help="The file to write.")],
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="Back to Keras .h5 without the model's description.")
    ] = False,
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
    """Convert a Keras checkpoint to safetensors, or a converted file back to .h5, .weights.h5 or .keras."""
    if is_converted(file):
        written = export(file, output, weights_only=weights_only)
        report = {"output": str(written), "size_bytes": written.stat().st_size}
        print_json(report) if json else out.print(f"wrote {escape(str(written))}", soft_wrap=True)
        return
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
        conversion = convert(file, output, hints, lambda done, total: bar("converting", done / total))
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
