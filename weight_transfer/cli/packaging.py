"""``convert --to-folder``: a port as a package of its own, written by a process that has torch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from weight_transfer.atomic import TEMPORARY_PREFIX, check_folder
from weight_transfer.cli.terminal import progress
from weight_transfer.errors import TransferError
from weight_transfer.parity.processes import check_installed, run_side


def check_outputs(output: Path | None, folder: Path | None) -> None:
    """Refuses what cannot be written, before any work.

    Raises:
        click.UsageError: Neither a file nor a folder was named.
        TransferError: The folder cannot be written, the file lies in it, or torch is missing.
    """
    if output is None and folder is None:
        raise click.UsageError("Missing option '-o' / '--output' or '--to-folder': name what to write.")
    if folder is not None:
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


def write_package(converted: Path, folder: Path, quiet: bool) -> dict[str, object]:
    """Writes the package of a converted file.

    Returns:
        ``folder`` and ``files``, as JSON can hold them.

    Raises:
        TransferError: It cannot be written, or does not compute what the port computes.
    """
    request = {"converted": str(converted), "folder": str(folder)}
    with progress(quiet=quiet) as bar:
        result = run_side("resnet_torch.standalone", request, lambda share: bar("packaging", share))
    if "error" in result:
        raise TransferError(result["error"])
    return {"folder": result["folder"], "files": result["files"]}
