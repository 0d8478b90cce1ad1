"""``convert --to-folder``: a port as a package of its own, written by a process that has torch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from weight_transfer.atomic import TEMPORARY_PREFIX, check_folder
from weight_transfer.cli.terminal import progress
from weight_transfer.errors import TransferError
from weight_transfer.progress import stage

if TYPE_CHECKING:  # what a conversion to a file need not wait for
    from weight_transfer.parity.runner import Runner


def check_outputs(output: Path | None, folder: Path | None) -> None:
    """Refuses what cannot be written, before any work.

    Raises:
        click.UsageError: Neither a file nor a folder was named.
        TransferError: The folder cannot be written, the file lies in it, or torch is missing.
    """
    if output is None and folder is None:
        raise click.UsageError("Missing option '-o' / '--output' or '--to-folder': name what to write.")
    if folder is not None:
        from weight_transfer.parity.runner import check_installed

        check_folder(folder)
        if output is not None and output.parent.resolve() == folder.resolve():
            raise TransferError(f"{output} lies in {folder}, which becomes a package. Name a file beside it.")
        check_installed("resnet_torch")


@contextmanager
def converted_file(output: Path | None, folder: Path | None) -> Iterator[Path]:
    """Yields where to convert to: the output, or a temporary file beside the folder."""
    if output is not None or folder is None:
        yield output or Path()
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as temporary:
        yield Path(temporary) / "weights.safetensors"


def write_package(converted: Path, folder: Path, quiet: bool, runner: Runner) -> dict[str, object]:
    """Writes the package of a converted file.

    Args:
        converted: The file.
        folder: The package.
        quiet: Draw no bar.
        runner: What has PyTorch's side answer.

    Returns:
        ``folder`` and ``files``, as JSON can hold them.

    Raises:
        TransferError: It cannot be written, or does not compute what the port computes.
    """
    from weight_transfer.parity.protocol import PackageRequest

    with progress(quiet=quiet) as bar:
        runner(PackageRequest(converted, folder), stage(bar, "packaging"))
    return {"folder": str(folder), "files": sorted(file.name for file in folder.iterdir())}
