"""The one family of errors this project raises on purpose."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable, Iterable, Sequence

SHOWN_AT_MOST = 10
QUOTED_CHARACTERS = 200


class TransferError(ValueError):
    """Something about a file, an architecture or a request is wrong.

    The message says what is wrong, where, what was expected and what to do next. A command line
    prints it as it is and exits with 2. Where another way is tried after the error, and composing the message takes
    long, it may be given as a function, which is called when the message is first shown.
    """

    def __init__(self, message: str | Callable[[], str] = "") -> None:
        super().__init__(message)
        self._message = message

    def __str__(self) -> str:
        if callable(self._message):
            self._message = self._message()
        return self._message

    def __reduce__(self) -> tuple[type[TransferError], tuple[str]]:
        return type(self), (str(self),)


class CheckpointError(TransferError):
    """A file is not a Keras checkpoint, or not a sound one."""


class ArchitectureError(TransferError):
    """An architecture cannot exist, or a file's architecture cannot be told."""


class MappingError(TransferError):
    """A checkpoint's arrays and an architecture's layers do not match one to one."""


class OptionError(TransferError):
    """An option says nothing of the case at hand, or another thing than its file."""


class ImageError(TransferError):
    """An image file cannot be read, or not in the way that was asked for."""


class VerificationError(TransferError):
    """The two models could not be compared (not: they were compared and differ)."""


def of_the_system(error: OSError) -> TransferError:
    """Returns in words what the operating system refused, such as another byte on a full disk."""
    where = "".join(
        f": {os.fsdecode(name)}" for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
    )
    text = f"{error.strerror or error}{where}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        text += " Free some space, or name another place: by the output, or by TMPDIR for temporary files."
    return TransferError(text)


def listing(problems: Iterable[str], hint: Callable[[str], str] = lambda problem: "") -> str:
    """Sorts problems, one indented line each, ten shown and the rest counted.

    Args:
        problems: In words.
        hint: Gives what to add to a line that is shown; looking for `nearest` names is slow.
    """
    lines = sorted(problems)
    shown = "".join(f"\n  {line}{hint(line)}" for line in lines[:SHOWN_AT_MOST])
    rest = len(lines) - SHOWN_AT_MOST
    return shown + (f"\n  +{rest} more" if rest > 0 else "")


def quoted(text: object) -> str:
    """Returns a text that a file says in quotes, control characters escaped, cut to a readable length."""
    text = str(text)
    cut = text[:QUOTED_CHARACTERS] + ("..." if len(text) > QUOTED_CHARACTERS else "")
    return repr(cut)


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns ``" (nearest: NAME)"`` for the known name most like ``name``, else an empty text."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (nearest: {found[0]})" if found else ""
