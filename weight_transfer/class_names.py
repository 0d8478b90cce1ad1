"""Names of classes, from the files that people keep them in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weight_transfer.errors import TransferError

FORMS = (
    'one name a line; JSON ["cat", "dog"]; JSON {"cat": 0, "dog": 1} as class_indices of a Keras generator; '
    'or JSON {"0": ["n01440764", "tench"]} as imagenet_class_index.json'
)


def read_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Returns the names of classes, by number.

    Args:
        path: Text with a name on each line, or JSON: a list, a number for each name, or a name
            (or a pair of an identifier and a name) for each number.

    Raises:
        TransferError: The file cannot be read, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TransferError(f"{path}: cannot be read ({error.strerror}). Expected class names: {FORMS}.") from error
    except UnicodeDecodeError as error:
        raise TransferError(f"{path}: no text in UTF-8. Expected class names: {FORMS}.") from error
    names = _from_json(path, text) if text.lstrip()[:1] in ("[", "{") else _from_lines(text)
    if not names:
        raise TransferError(f"{path}: holds no class names. Expected {FORMS}.")
    return names


def _from_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_json(path: str | os.PathLike[str], text: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TransferError(f"{path}: damaged JSON ({error}). Expected class names: {FORMS}.") from error
    names = _by_number(value) if isinstance(value, Mapping) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TransferError(f"{path}: JSON, but no names of the classes 0, 1, 2 and so on. Expected {FORMS}.")
    return names


def _by_number(value: Mapping[str, Any]) -> list[Any] | None:
    """The names in order, or None where the numbers are not 0 and up."""
    if all(isinstance(number, int) for number in value.values()):
        by_number = {str(number): name for name, number in value.items()}
    else:
        by_number = {key: name[-1] if isinstance(name, list) and name else name for key, name in value.items()}
    if set(by_number) != {str(number) for number in range(len(value))}:
        return None
    return [by_number[str(number)] for number in range(len(value))]
