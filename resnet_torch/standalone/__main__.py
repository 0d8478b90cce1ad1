"""``python -m resnet_torch.standalone REQUEST.json``: writes a package for the command line, which imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_torch.standalone.package import write_standalone
from weight_transfer.errors import TransferError
from weight_transfer.parity.processes import serve, tell_progress


def package(request: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a package.

    Args:
        request: ``converted`` (the file), ``folder`` (the package).

    Returns:
        ``folder`` and ``files``, or ``error`` in words.
    """
    tell_progress(0.0)
    folder = Path(request["folder"])
    try:
        write_standalone(Path(request["converted"]), folder)
    except TransferError as error:
        return {"error": str(error)}
    return {"folder": str(folder), "files": sorted(file.name for file in folder.iterdir())}


if __name__ == "__main__":
    serve(package)
