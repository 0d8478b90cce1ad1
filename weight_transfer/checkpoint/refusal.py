"""The words in which a file is refused: nothing of the file reaches a terminal unescaped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from weight_transfer.errors import CheckpointError, quoted

DAMAGED = "The file is damaged or cut short: copy or download it again and compare its size and SHA-256."


def refusal(label: str, problem: str, advice: str) -> CheckpointError:
    """Returns the error for a file (or a member of one): what is wrong, and what to do."""
    return CheckpointError(f"{quoted(label)}: {problem}. {advice}")


@contextmanager
def refusing(label: str, reader: str, *errors: type[Exception]) -> Iterator[None]:
    """Turns a library's errors into a `CheckpointError`.

    Args:
        label: The file.
        reader: What was reading it, in words.
        *errors: What that reader raises for a damaged file.
    """
    try:
        yield
    except CheckpointError:
        raise
    except errors as error:
        raise refusal(label, f"{reader} failed ({type(error).__name__}: {quoted(error)})", DAMAGED) from error
