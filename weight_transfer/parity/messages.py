"""How requests and results are sent: one `Call`; back come any number of `Progress`, and one `Answer` or `Failure`.

msgspec writes a message as MessagePack, which has the infinities that an error can be and JSON has not, and checks it
against its types when it is read. On a pipe each stands behind its length, eight bytes.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec
import numpy as np

from weight_transfer.errors import VerificationError
from weight_transfer.parity.protocol import REQUESTS, VERSION, Request, Result

Message = TypeVar("Message")
LENGTH = struct.Struct(">Q")


class Call(msgspec.Struct, frozen=True):
    """A request on its way.

    Attributes:
        version: The sender's `VERSION`.
        name: Class of the request.
        request: Written by `encode`.
        folders: Temporary folders of the sender, to remove should it be killed.
    """

    version: int
    name: str
    request: msgspec.Raw
    folders: tuple[Path, ...] = ()


class Progress(msgspec.Struct, frozen=True, tag=True):
    """The share that is done, 0 to 1."""

    share: float


class Answer(msgspec.Struct, frozen=True, tag=True):
    """A result on its way, written by `encode`, and the sender's `VERSION`."""

    version: int
    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag=True):
    """An error in words, and its class of `weight_transfer.errors`."""

    name: str
    message: str


STOP = b"\0"  # before a pipe ends: its other end is alive, and removes its folders itself


def pack(request: Request[Any], folders: tuple[Path, ...] = ()) -> bytes:
    """Returns a request as the other process reads it with `unpack`.

    Raises:
        VerificationError: A field holds what cannot be written.
    """
    return encode(Call(VERSION, type(request).__name__, msgspec.Raw(encode(request)), folders))


def unpack(data: bytes) -> tuple[Request[Any], tuple[Path, ...]]:
    """Returns what was given to `pack`: a request and folders.

    Raises:
        VerificationError: It comes from another version of this package, is no request or one of a wrong form.
    """
    call = decode(data, Call)
    _check_version(call.version)
    kinds = {kind.__name__: kind for kind in REQUESTS}
    if call.name not in kinds:
        raise VerificationError(f"no such request: {call.name!r}. Expected one of {', '.join(kinds)}.")
    return decode(bytes(call.request), kinds[call.name]), call.folders


def pack_answer(result: object) -> bytes:
    """Returns a result as the other process reads it with `unpack_answer`.

    Raises:
        VerificationError: A field holds what cannot be written.
    """
    return encode(Answer(VERSION, msgspec.Raw(encode(result))))


def decode_reply(data: bytes) -> Progress | Answer | Failure:
    """Returns what the process that answers sent.

    Raises:
        VerificationError: It is something else.
    """
    reply: Progress | Answer | Failure = decode(data, cast(Any, Progress | Answer | Failure))
    return reply


def unpack_answer(answer: Answer, request: Request[Result]) -> Result:
    """Returns the result of a request.

    Raises:
        VerificationError: It comes from another version of this package, or is none of this request.
    """
    _check_version(answer.version)
    return decode(bytes(answer.result), request.result_type())


def _check_version(version: int) -> None:
    if version != VERSION:
        raise VerificationError(
            f"another process speaks version {version} of the protocol. Expected {VERSION}: two versions of "
            "keras-resnet-to-torch are mixed, or it was just updated. Start again, or install it again."
        )


def encode(value: object) -> bytes:
    """Returns a message as MessagePack.

    Raises:
        VerificationError: It holds what cannot be written, such as a whole number beyond 64 bits.
    """
    try:
        return msgspec.msgpack.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise VerificationError(
            f"{type(value).__name__} cannot be sent to another process: {error}. Expected plain data."
        ) from error


def decode(data: bytes, kind: type[Message]) -> Message:
    """Returns a message that `encode` wrote.

    Raises:
        VerificationError: It is cut off, or of another form.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind, dec_hook=_object)
    except msgspec.DecodeError as error:
        raise VerificationError(
            f"what another process sent is no {getattr(kind, '__name__', kind)}: {error}. Start again; if it stays so, "
            "install keras-resnet-to-torch again."
        ) from error


def _plain(value: object) -> object:
    """What MessagePack has in place of a path, whose bytes need be no text, and of a NumPy number."""
    if isinstance(value, Path):
        return os.fsencode(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _object(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, bytes):
        return Path(os.fsdecode(value))
    raise ValueError(f"Expected a {kind.__name__}")


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
