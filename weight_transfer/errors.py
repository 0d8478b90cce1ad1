"""The one family of errors this project raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

SHOWN_AT_MOST = 10


class TransferError(ValueError):
    """Something about a file, an architecture or a request is wrong.

    The message says what is wrong, where, what was expected and what to do next. A command line
    prints it as it is and exits with 2.
    """


class CheckpointError(TransferError):
    """A file is not a Keras checkpoint, or not a sound one."""


class ArchitectureError(TransferError):
    """An architecture cannot exist, or a file's architecture cannot be told."""


class MappingError(TransferError):
    """A checkpoint's arrays and an architecture's layers do not match one to one."""


class ImageError(TransferError):
    """An image file cannot be read, or not in the way that was asked for."""


class VerificationError(TransferError):
    """The two models could not be compared (not: they were compared and differ)."""


def listing(problems: Iterable[str]) -> str:
    """Sorts problems, one indented line each, ten shown and the rest counted."""
    lines = sorted(problems)
    shown = "".join(f"\n  {line}" for line in lines[:SHOWN_AT_MOST])
    rest = len(lines) - SHOWN_AT_MOST
    return shown + (f"\n  +{rest} more" if rest > 0 else "")


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns ``" (nearest: NAME)"`` for the known name most like ``name``, else an empty text."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (nearest: {found[0]})" if found else ""
