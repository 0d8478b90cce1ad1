"""A model's description in a JSON file of its own: what ``model.to_json()`` writes, or ``model.get_config()`` gives."""

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
        path: A JSON file with ``class_name`` and ``config``, or with a model's ``layers``.

    Returns:
        A dictionary with ``class_name`` and ``config``.

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
    if isinstance(value, dict) and {"class_name", "config"} <= value.keys():
        return value
    if isinstance(value, dict) and isinstance(value.get("layers"), list):  # a Sequential names no inputs
        return {"class_name": "Functional" if "input_layers" in value else "Sequential", "config": value}
    raise refusal(source.label, "no description of a model", EXPECTED)


EXPECTED = "Expected the JSON that Keras's model.to_json() or model.get_config() gives."
