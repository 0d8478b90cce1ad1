"""``python -m resnet_torch.standalone REQUEST.json``: writes a package for the command line, which imports no torch.

It prints JSON lines: progress, then one result: ``folder`` and ``files``, or ``error`` in words.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from resnet_torch.standalone.package import write_standalone
from weight_transfer.errors import TransferError


def main() -> None:
    """Reads a request (``converted``, ``folder``), writes the package, prints the result."""
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"progress": 0.0}), flush=True)
    folder = Path(request["folder"])
    result: dict[str, Any]
    try:
        write_standalone(Path(request["converted"]), folder)
        result = {"folder": str(folder), "files": sorted(file.name for file in folder.iterdir())}
    except TransferError as error:
        result = {"error": str(error)}
    print(json.dumps({"progress": 1.0, "result": result}), flush=True)


if __name__ == "__main__":
    main()
