"""A model's description in a JSON file of its own, as ``model.to_json()`` writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.checkpoint.refusal import refusal
from weight_transfer.checkpoint.source import open_source


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a model's description.

    Args:
        path: A JSON file with ``class_name`` and ``config``.

    Raises:
        CheckpointError: It is none.
    """
    source = open_source(Path(path))
    try:
        if source.size_bytes > limits.JSON_BYTES:
            raise refusal(source.label, f"{source.size_bytes} bytes; {limits.JSON_BYTES} are accepted", EXPECTED)
        value = parse_json(source.label, bytes(source.read(0, source.size_bytes)))
    finally:
        source.close()
    if not isinstance(value, dict) or not {"class_name", "config"} <= value.keys():
        raise refusal(source.label, "no description of a model", EXPECTED)
    return value


EXPECTED = "Expected the JSON that Keras's model.to_json() gives."
