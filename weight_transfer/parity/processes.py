"""Running one side of a verification in a process of its own.

TensorFlow and a CUDA build of torch in one process can end in a segmentation fault, and TensorFlow
takes all GPU memory; so each side runs alone and passes arrays through files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from weight_transfer.errors import VerificationError
from weight_transfer.isolation import CHILDREN, isolated_command

LAST_LINES = 5
NEEDS: Mapping[str, tuple[str, ...]] = {"resnet_keras": ("keras", "tensorflow"), "resnet_torch": ("torch",)}
INSTEAD = {"resnet_keras": ", or take a recording made elsewhere: weight-transfer verify --reference"}


# Before anything imports Keras: TensorFlow is the backend that keeps float64 batch norm in float64,
# and the reference is the CPU's, since the GPU is the port's.
ENVIRONMENT: Mapping[str, Mapping[str, str]] = {
    "resnet_keras": {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
}


def check_installed(package: str) -> None:
    """Raises VerificationError, with what to install, where a side's framework is missing."""
    missing = [name for name in NEEDS[package] if importlib.util.find_spec(name) is None]
    if missing:
        raise VerificationError(
            f"this needs {' and '.join(missing)}, not installed here. "
            "Install both sides: pip install 'keras-resnet-to-torch[verify]'" + INSTEAD.get(package, "")
        )


def run_side(module: str, request: Mapping[str, Any], on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Runs ``python -m module REQUEST``, without the current folder on the path, and returns its result.

    Args:
        module: Of `resnet_keras` or `resnet_torch`; it prints JSON lines, ``progress`` then ``result``.
        request: Passed as a JSON file.
        on_progress: Called with the share that is done, 0 to 1.

    Raises:
        VerificationError: A framework is missing, or the process failed; with its last words.
    """
    check_installed(module.split(".")[0])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request))
        with (Path(folder) / "stderr").open("w+") as stderr:
            command = isolated_command(module, str(file))
            environment = {**os.environ, **CHILDREN, **ENVIRONMENT.get(module.split(".")[0], {})}
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            ) as process:
                result = _follow(process, on_progress)
            if process.returncode or result is None:
                stderr.seek(0)
                raise VerificationError(f"{module} failed: {_last_words(stderr.read(), process.returncode)}")
    return result


def _follow(process: subprocess.Popen[str], on_progress: Callable[[float], None]) -> dict[str, Any] | None:
    result = None
    for line in process.stdout or ():
        if not line.startswith("{"):
            continue  # a framework that prints to stdout
        message = json.loads(line)
        result = message.get("result", result)
        on_progress(message.get("progress", 1.0))
    return result


def _last_words(stderr: str, returncode: int) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if returncode < 0:
        lines.append(f"killed by signal {-returncode}")
    return "\n  ".join(lines[-1:] if lines and "Error" in lines[-1] else lines[-LAST_LINES:])


# The other end: what such a process prints


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Reads the request that `run_side` passed, and prints what ``answer`` makes of it."""
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"result": answer(request)}), flush=True)


def tell_progress(share: float) -> None:
    """Prints the share that is done, 0 to 1."""
    print(json.dumps({"progress": share}), flush=True)


def steps(total: int) -> Iterator[None]:
    """Tells the progress each time it is asked for the next of so many steps."""
    for step in range(1, total + 1):
        tell_progress(step / total)
        yield
    while True:
        yield
