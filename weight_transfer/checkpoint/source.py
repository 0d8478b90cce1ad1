"""Where bytes come from: a regular file opened once, or the member of an archive in memory."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import weakref
from collections.abc import Sequence
from pathlib import Path

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.refusal import DAMAGED, refusal
from weight_transfer.errors import CheckpointError

HASHED_BYTES = 4 * limits.MIB  # read at a time


class Source:
    """Bytes at offsets. The open file stays the same whatever happens to its name.

    Attributes:
        label: Its name in messages.
        stream: For readers that want a file object; its position belongs to no one.
        size_bytes: Its length.
    """

    def __init__(
        self, label: str, stream: io.FileIO | io.BytesIO, size_bytes: int, descriptor: int | None = None
    ) -> None:
        self.label = label
        self.stream = stream
        self.size_bytes = size_bytes
        # Not the stream's own close: a checkpoint that is dropped unclosed should give no warning.
        self._finalizer = None if descriptor is None else weakref.finalize(self, os.close, descriptor)

    @classmethod
    def of_bytes(cls, label: str, content: bytes) -> Source:
        """Returns a source in memory."""
        return cls(label, io.BytesIO(content), len(content))

    def close(self) -> None:
        """Closes the file; what was read stays."""
        self.stream.close()
        if self._finalizer is not None:
            self._finalizer()

    def read(self, offset: int, size_bytes: int) -> bytearray:
        """Returns ``size_bytes`` bytes from ``offset`` on.

        Raises:
            CheckpointError: There are fewer.
        """
        content = bytearray(size_bytes)
        view, done = memoryview(content), 0
        self.stream.seek(offset)
        while done < size_bytes:  # one read gives at most 2 GiB
            count = self.stream.readinto(view[done:])
            if not count:
                raise refusal(self.label, f"{size_bytes - done} bytes are missing at offset {offset + done}", DAMAGED)
            done += count
        return content


def open_source(path: Path) -> Source:
    """Opens a regular file; a pipe or a device is refused before opening it could hang.

    Raises:
        CheckpointError: There is no such file, it is none, or it cannot be opened.
    """
    label = str(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_kind(path, os.stat(path))
        descriptor = os.open(path, flags)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise refusal(label, f"it cannot be opened ({reason})", "Check the path and its permissions.") from error
    source = Source(label, io.FileIO(descriptor, closefd=False), os.fstat(descriptor).st_size, descriptor)
    _check_kind(path, os.fstat(descriptor))  # the name may have changed hands meanwhile
    return source


def sha256(sources: Sequence[Source]) -> str:
    """Returns the hex digest of the sources' bytes, one after the other."""
    digest = hashlib.sha256()
    for source in sources:
        for offset in range(0, source.size_bytes, HASHED_BYTES):
            digest.update(source.read(offset, min(HASHED_BYTES, source.size_bytes - offset)))
    return digest.hexdigest()


def _check_kind(path: Path, status: os.stat_result) -> None:
    label = str(path)
    if stat.S_ISDIR(status.st_mode):
        if (path / "saved_model.pb").exists():
            raise refusal(
                label,
                "a TensorFlow SavedModel folder, not a checkpoint file",
                "Load it in Keras and save it again: model.save('model.keras').",
            )
        raise refusal(label, "a folder, not a checkpoint file", "Give the path of the file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise refusal(label, "a pipe, a socket or a device, not a regular file", "Copy its content to a file first.")
    if status.st_size > limits.FILE_BYTES:
        raise refusal(
            label,
            f"{status.st_size} bytes is more than the {limits.FILE_BYTES} that are accepted",
            "Expected the checkpoint of one ResNet, some hundred MB.",
        )
