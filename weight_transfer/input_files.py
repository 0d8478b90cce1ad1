"""Which files a command reads, so that none of them is what it writes."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from weight_transfer.checkpoint.limits import JSON_BYTES
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.state import path_of_state

AnyPath = str | os.PathLike[str]


def protect_inputs(outputs: Iterable[AnyPath | None], inputs: Iterable[AnyPath | None]) -> None:
    """Refuses outputs that are inputs, or each other, also by a hard link, a symbolic link or another spelling.

    Args:
        outputs: Files to write; None for one that is not asked for.
        inputs: Files and folders to read, likewise. With a checkpoint's index go its shards, with a converted file
            the optimizer's state beside it, with a folder all that is in it.

    Raises:
        TransferError: Writing an output would replace an input, or another output.
    """
    named = [Path(output) for output in outputs if output is not None]
    places = [os.path.realpath(output) for output in named]  # Path.resolve raises for a circular link
    twice = next((output for output, place in zip(named, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise TransferError(f"two outputs are one file. Name a file for each. Received: {twice} twice")
    existing = {identity: output for output in named if (identity := _identity(output)) is not None}
    if not existing:
        return
    for source in inputs:
        for file in () if source is None else _belonging(Path(source)):
            output = existing.get(identity) if (identity := _identity(file)) else None
            if output is not None:
                raise TransferError(
                    f"the output is the input: {output} and {file} are one file. "
                    "Name another output; the input is never changed."
                )


def _belonging(path: Path) -> Iterator[Path]:
    yield path
    if path.name:
        yield path_of_state(path)
    if path.is_dir():
        for folder, _, files in os.walk(path):
            yield from (Path(folder) / file for file in files)
    elif path.is_file() and path.stat().st_size <= JSON_BYTES:
        yield from (path.parent / name for name in _shards(path))


def _shards(index: Path) -> set[str]:
    """Names of the files that a ``.weights.json`` lists; none where it is another kind of file."""
    try:
        with index.open("rb") as file:
            content = file.read() if file.read(1) == b"{" and not file.seek(0) else b""
        weight_map = json.loads(content)["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    lists = [files if isinstance(files, list) else [files] for files in weight_map]
    return {name for files in lists for name in files if isinstance(name, str)}


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file that the path leads to, or None where that is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
