"""Messages on a pipe: each behind its length, eight bytes, so that the end of one is known."""

from __future__ import annotations

import struct
from typing import Protocol

from weight_transfer.errors import VerificationError

LENGTH = struct.Struct(">Q")


class Readable(Protocol):
    """A pipe's end to read from; it may give less than it is asked for."""

    def read(self, size: int, /) -> bytes | None:
        """Returns at most so many bytes."""
        ...


class Writable(Protocol):
    """A pipe's end to write to; it may take less than it is given."""

    def write(self, data: memoryview, /) -> int | None:
        """Returns how many bytes it took."""
        ...


def write_frame(pipe: Writable, message: bytes) -> None:
    """Writes a message."""
    rest = memoryview(LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[pipe.write(rest) or 0 :]


def read_frame(pipe: Readable) -> bytes | None:
    """Returns the next message, or None where the pipe has ended.

    Raises:
        VerificationError: It has ended within a message.
    """
    head = _read(pipe, LENGTH.size)
    if not head:
        return None
    (length,) = LENGTH.unpack(head) if len(head) == LENGTH.size else (0,)
    message = _read(pipe, length)
    if len(head) < LENGTH.size or len(message) < length:
        raise VerificationError("the other process ended in the middle of a message. Start again.")
    return message


def _read(pipe: Readable, size: int) -> bytes:
    """So many bytes, or all that there are."""
    parts: list[bytes] = []
    while size and (part := pipe.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
