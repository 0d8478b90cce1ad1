"""A value that a model config must hold, or the words that refuse it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from weight_transfer.errors import ArchitectureError


def as_text(value: Any, what: str) -> str:
    """Returns a name; ``what`` it names stands in the error.

    Raises:
        ArchitectureError: It is no text, or one that a terminal might obey.
    """
    if not isinstance(value, str) or not value or not value.isprintable():
        raise malformed(what, f"{shown(value)}, expected a printable text")
    return value


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Returns a dict; ``what`` it describes stands in the error.

    Raises:
        ArchitectureError: It is none.
    """
    if not isinstance(value, Mapping):
        raise malformed(what, f"{shown(value)}, expected a dict")
    return value


def malformed(what: str, problem: str) -> ArchitectureError:
    """Returns the error for what no Keras writes."""
    return ArchitectureError(f"the model config is malformed: {what}: {problem}.")


def mixed(where: str, what: str) -> ArchitectureError:
    """Returns the error for an argument of tensors and constants."""
    return ArchitectureError(f"{where} is called on tensors and constants in one list or dict, {what}: not supported.")


def shown(value: Any) -> str:
    """Returns a value as a message shows it: shortened and printable."""
    text = "missing" if value is None else reprlib.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
