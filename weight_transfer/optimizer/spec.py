"""What a person says of an optimizer that its file does not: ``Adam learning_rate=1e-4 beta_2=0.99``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.errors import CheckpointError, TransferError

EXAMPLE = "'Adam learning_rate=1e-4'"


@dataclass(frozen=True)
class Said:
    """A person's word on an optimizer.

    Attributes:
        class_name: Keras's, or None where the file has it.
        arguments: Keras's, that hold whatever the file says.
    """

    class_name: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def parse_said(text: str | None) -> Said:
    """Reads a class name and arguments, or what Keras serializes an optimizer as.

    Example:
        >>> parse_said("SGD momentum=0.9 nesterov=true").arguments
        {'momentum': 0.9, 'nesterov': True}

    Raises:
        TransferError: It is neither.
    """
    text = (text or "").strip()
    if text.startswith("{"):
        return _serialized(text)
    words = text.split()
    class_name = words.pop(0) if words and "=" not in words[0] else None
    arguments = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.isidentifier() or not equals:
            raise TransferError(f"--optimizer takes a class and its arguments, such as {EXAMPLE}. Received: {word!r}")
        arguments[name] = _value(word, value)
    return Said(class_name, arguments)


def _serialized(text: str) -> Said:
    try:
        config = parse_json("--optimizer", text)
    except CheckpointError as error:
        raise TransferError(f"{error}") from error
    if not isinstance(config.get("class_name"), str) or not isinstance(config.get("config", {}), dict):
        raise TransferError('--optimizer takes {"class_name": ..., "config": ...}, as Keras serializes one.')
    return Said(config["class_name"], config.get("config", {}))


def _value(word: str, text: str) -> Any:
    try:
        value = json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        value = text
    if isinstance(value, float | bool | int | None):
        return value
    raise TransferError(f"--optimizer: expected a number, true, false or null. Received: {word!r}")
