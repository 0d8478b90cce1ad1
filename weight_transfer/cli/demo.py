"""``weight-transfer demo``: the whole way on a checkpoint that real Keras makes here and now."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click
from rich.markup import escape

from weight_transfer.architecture import DEPTHS
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.cli import options
from weight_transfer.cli.convert import as_dict, print_conversion
from weight_transfer.cli.inspect import describe, print_description
from weight_transfer.cli.running import BY_VERDICT
from weight_transfer.cli.terminal import out, print_json, progress
from weight_transfer.cli.verify import print_verification, write_outputs
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.description import describe as description_of
from weight_transfer.conversion.identify import identify
from weight_transfer.errors import TransferError
from weight_transfer.parity.inputs import DEFAULT_SIZE, Case, photographs, save_cases
from weight_transfer.parity.protocol import SeededModelRequest
from weight_transfer.parity.runner import Runner, check_installed, run_in_process, temporary_folder
from weight_transfer.parity.verify import verify
from weight_transfer.preprocessing import preprocess
from weight_transfer.progress import OnProgress, stage


@click.command(epilog="Example: weight-transfer demo --folder demo")
@click.option("--folder", type=options.PathOf, default="demo", show_default=True, help="Where the files go.")
@click.option(
    "--depth",
    type=click.Choice(list(DEPTHS)),
    default=50,
    show_default=True,
    help="Layers of the network.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the weights.")
@options.as_json
@options.with_runner
def demo(folder: Path, depth: int, seed: int, json: bool, runner: Runner) -> None:
    """Make a Keras ResNet with seeded weights, inspect it, convert it, and prove the port."""
    for package in ("resnet_keras", "resnet_torch"):
        check_installed(package)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise TransferError(
            f"cannot make the folder {folder}: {error.strerror}. Name another with --folder."
        ) from error
    checkpoint, port = folder / f"resnet{depth}.h5", folder / f"resnet{depth}.safetensors"
    with progress(quiet=json) as bar:
        _step(json, 1, f"Keras builds a ResNet-{depth} and saves {checkpoint}")
        make_checkpoint(depth, seed, checkpoint, stage(bar, "Keras"), runner)
    _step(json, 2, f"weight-transfer inspect {checkpoint}")
    with read_checkpoint(checkpoint) as opened:
        identified = identify(opened)
        known = description_of(opened, identified)
        inspected = describe(opened, identified, known)
    if not json:
        print_description(inspected, identified, known)
    _step(json, 3, f"weight-transfer convert {checkpoint} -o {port}")
    with progress(quiet=json) as bar:
        conversion = convert(checkpoint, port, on_progress=lambda done, total: bar("converting", done / total))
    if not json:
        print_conversion(conversion)
    report, certificate = folder / "report.html", folder / "certificate.json"
    _step(json, 4, f"weight-transfer verify {checkpoint} {port} --report {report} --certificate {certificate}")
    with progress(quiet=json) as bar:
        found = verify(checkpoint, port, on_progress=bar, runner=runner)
    write_outputs(found, report, certificate)
    if json:
        print_json({"inspect": inspected, "convert": as_dict(conversion), "verify": found.to_dict()})
    else:
        print_verification(found)
        out.print(
            f"\nOpen {escape(str(report))} in a browser: every layer, the pictures, what differs if something does."
        )
    if not found.passed:
        sys.exit(BY_VERDICT[found.verdict])


def make_checkpoint(
    depth: int, seed: int, output: Path, on_progress: OnProgress, runner: Runner = run_in_process
) -> None:
    """Real Keras builds the tutorial's network, draws its weights, fits its statistics to photographs.

    Args:
        depth: Of the network.
        seed: Of the weights.
        output: The .h5 file to write.
        on_progress: Called with the share that is done.
        runner: What has Keras's side answer.
    """
    with temporary_folder() as folder:
        images = folder / "images.safetensors"
        batch = preprocess(photographs((DEFAULT_SIZE, DEFAULT_SIZE)), "caffe")
        save_cases([Case("photographs", (batch,), raw=False)], images)
        runner(SeededModelRequest(depth, seed, images, output), on_progress)


def _step(quiet: bool, number: int, text: str) -> None:
    if not quiet:
        out.print(f"\n[bold]{number}[/] {escape(text)}", soft_wrap=True)
