"""``weight-transfer convert``: Keras to PyTorch, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.markup import escape

from weight_transfer.cli import options
from weight_transfer.cli.applicability import Idle, of_a_converted_file, refuse_idle
from weight_transfer.cli.optimizers import optimizer_as_dict, optimizer_text
from weight_transfer.cli.packaging import check_outputs, converted_file, write_package
from weight_transfer.cli.terminal import bytes_text, facts, frozen_fact, input_facts, notes, out, print_json, progress
from weight_transfer.conversion.convert import Conversion, convert
from weight_transfer.conversion.export import export
from weight_transfer.converted import is_converted
from weight_transfer.errors import TransferError
from weight_transfer.graph import Graph
from weight_transfer.keras_schema import Schema
from weight_transfer.resnet.layout import network_to_dict

if TYPE_CHECKING:  # 0.1 s that a conversion to a file need not wait for
    from weight_transfer.parity.runner import Runner


@click.command(
    "convert",
    epilog="Examples: weight-transfer convert resnet50.h5 -o resnet50.safetensors\n\n"
    "weight-transfer convert resnet50.safetensors -o back.keras\n\n"
    "weight-transfer convert resnet50.safetensors --schema keras2 -o for_tensorflow_2.15.h5\n\n"
    "weight-transfer convert resnet50.keras -o resnet50.safetensors --with-optimizer\n\n"
    "weight-transfer convert resnet50.h5 --to-folder resnet50",
)
@options.checkpoint_file
@click.option("-o", "--output", type=options.PathOf, help="The file to write.")
@click.option(
    "--to-folder", type=options.PathOf, help="A folder to write: the port as a Python package that needs torch alone."
)
@click.option("--weights-only", is_flag=True, help="Back to Keras .h5 without the model's description.")
@click.option(
    "--schema",
    type=click.Choice(["keras2", "keras3"]),
    help="Back to which Keras: tf_keras (TensorFlow up to 2.15) or Keras 3; by default the one that wrote the model.",
)
@click.option(
    "--with-optimizer",
    is_flag=True,
    help="Carry the optimizer's state too, in OUTPUT.optimizer.safetensors, or back from there.",
)
@options.optimizer
@click.option("--unfreeze", is_flag=True, help="Let layers learn that do not in Keras: trainable=False.")
@options.as_json
@options.about_the_file
@options.with_runner
def convert_command(
    file: Path,
    output: Path | None,
    to_folder: Path | None,
    weights_only: bool,
    schema: Schema | None,
    with_optimizer: bool,
    optimizer: str | None,
    unfreeze: bool,
    json: bool,
    runner: Runner,
    **said: Any,
) -> None:
    """Convert a Keras checkpoint to safetensors, or a converted file back to .h5, .weights.h5 or .keras.

    With --to-folder, instead or as well, to a package of plain PyTorch that does not need this one.
    """
    check_outputs(output, to_folder)
    converted = is_converted(file)
    refuse_idle(
        of_a_converted_file(converted, file, (*options.ABOUT_THE_FILE, "optimizer")),
        Idle(
            not converted,
            ("weights_only", "schema"),
            f"it is about the way back to Keras, and {file} is a Keras checkpoint",
        ),
        Idle(
            converted and output is None,
            ("weights_only", "schema", "unfreeze"),
            "it is about what -o names, and --to-folder takes the converted file as it is",
        ),
    )
    _check_optimizer(output, with_optimizer, optimizer)
    report: dict[str, object] = {}
    if converted:
        if output is not None:
            flags = {"weights_only": weights_only, "with_optimizer": with_optimizer, "unfreeze": unfreeze}
            written = export(file, output, **flags, schema=schema)
            report = {"output": str(written), "size_bytes": written.stat().st_size}
        if to_folder is not None:
            report |= write_package(file, to_folder, quiet=json, runner=runner)
        print_json(report) if json else _print_written(report)
        return
    with converted_file(output, to_folder) as target:
        with progress(quiet=json) as bar:
            conversion = convert(
                file,
                target,
                options.hints_of(**said),
                lambda done, total: bar("converting", done / total),
                with_optimizer=with_optimizer,
                optimizer=optimizer,
                unfreeze=unfreeze,
            )
        report = {**as_dict(conversion), "output": output and str(output)}
        if to_folder is not None:
            report |= write_package(target, to_folder, quiet=json, runner=runner)
    print_json(report) if json else print_conversion(conversion, to_folder, only_package=output is None)


def _check_optimizer(output: Path | None, with_optimizer: bool, optimizer: str | None) -> None:
    if with_optimizer and output is None:
        raise TransferError("--with-optimizer writes a file beside the output. Name one with -o.")
    if optimizer is not None and not with_optimizer:
        raise TransferError("--optimizer says what a state's file does not. Use it with --with-optimizer.")


def _print_written(report: Mapping[str, object]) -> None:
    for key in ("output", "folder"):
        if key in report:
            out.print(f"wrote {escape(str(report[key]))}", soft_wrap=True)


def as_dict(conversion: Conversion) -> dict[str, object]:
    """Returns a conversion as JSON can hold it."""
    return {
        "output": str(conversion.output),
        "name": conversion.network.title,
        "network": network_to_dict(conversion.network),
        "origin": dict(conversion.description.origin.__dict__),
        "num_arrays": conversion.num_arrays,
        "num_parameters": conversion.num_parameters,
        "assumed": list(conversion.assumed),
        "skipped": list(conversion.skipped),
        "remarks": list(conversion.description.remarks),
        "precision": conversion.description.precision.__dict__,
        "frozen": list(conversion.description.frozen),
        **conversion.description.input_as_dict(),
        "optimizer_output": conversion.optimizer_output and str(conversion.optimizer_output),
        "optimizer": None if conversion.optimizer is None else optimizer_as_dict(conversion.optimizer),
    }


def print_conversion(conversion: Conversion, package: Path | None = None, only_package: bool = False) -> None:
    """Prints what was converted and what was assumed."""
    written = []
    if not only_package:
        files = [conversion.output, *([conversion.optimizer_output] if conversion.optimizer_output else [])]
        written += [f"{escape(str(file))}, {bytes_text(file.stat().st_size)}" for file in files]
    if package is not None:
        written.append(f"{escape(str(package))}, a package that needs torch and safetensors alone")
    assumed = (*conversion.assumed, *_assumed_of(conversion))
    skipped = f"; {len(conversion.skipped)} that are no weights left out" if conversion.skipped else ""
    out.print(
        facts(
            {
                "wrote": "; ".join(written),
                "holds": f"{escape(conversion.network.title)} ({_kind(conversion.network)}), "
                f"{conversion.num_parameters:,} parameters",
                "accounted": f"{conversion.num_arrays} of {conversion.num_arrays} arrays read once and written once"
                + skipped,
                **({} if conversion.optimizer is None else {"optimizer": optimizer_text(conversion.optimizer)}),
                **notes(conversion.description.remarks),
                **frozen_fact(conversion.description.frozen),
                **({"not in the file": ", ".join(assumed)} if assumed else {}),
                **input_facts(conversion.description),
            }
        )
    )


def _assumed_of(conversion: Conversion) -> tuple[str, ...]:
    return () if conversion.optimizer is None else conversion.optimizer.assumed


def _kind(network: Graph) -> str:
    backbone = network.architecture
    if backbone is None:
        return "imported graph"
    return backbone.dialect if network.resnet is not None else f"{backbone.dialect}, with the file's own head"
