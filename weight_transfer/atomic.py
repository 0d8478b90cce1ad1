"""Writing a file or a folder so that a reader sees what was there or the whole new one, never half of it.

The bytes go to a temporary file or folder beside the output, and only then under the output's name: a file's when they
are on the disk. A kill or a full disk on the way leaves an earlier file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from weight_transfer.errors import TransferError

TEMPORARY_PREFIX = ".weight-transfer-"  # a fixed name: the output's own, made longer, may pass 255 bytes
TEMPORARY_SUFFIX = ".tmp"
WRITE_MODE = 0o666  # the kernel takes the umask off it, as for any file a user makes

# What a file system answers that cannot sync a folder, or does not let this user open one.
CANNOT_SYNC_FOLDER = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES})


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, size_bytes: int = 0) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, and on leaving gives the file written there its name.

    The temporary file exists and is empty; open it by name to write (``open``, ``h5py.File``, ``zipfile.ZipFile``),
    and close it before leaving. Any exception removes it and leaves ``path`` as it was. A symbolic link at
    ``path`` is replaced; the file it points to stays.

    Example:
        >>> with atomic_write("resnet50.safetensors", size_bytes=len(content)) as temporary:
        ...     temporary.write_bytes(content)

    Args:
        path: The output file, in a folder that exists.
        size_bytes: Space the file needs, checked before the first byte; 0 for not known.

    Raises:
        TransferError: As `check_output`, or the system refused to create, write or rename the file.
    """
    output = Path(path)
    check_output(output, size_bytes=size_bytes)
    temporary = _temporary_beside(output)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, WRITE_MODE))
        yield temporary
        _sync_file(temporary)
        os.replace(temporary, output)
    except OSError as error:
        _remove(temporary)
        raise TransferError(
            f"cannot write {output}: {error.strerror or error}. Nothing was left there; an earlier file is unchanged. "
            "Write to another folder, or mend the cause and try again."
        ) from error
    except BaseException:
        _remove(temporary)
        raise
    _sync_folder(output.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all.

    Raises:
        TransferError: As `atomic_write`.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_output(path: str | os.PathLike[str], *, size_bytes: int = 0) -> None:
    """Refuses an output that cannot or must not be written; asks only, so call it before long work.

    Args:
        path: The output file.
        size_bytes: Space the file needs; 0 for not known.

    Raises:
        TransferError: The folder is missing or closed to this user, ``path`` is something other than a regular
            file, or the disk is too full.
    """
    output = Path(path)
    _check_parent(output)
    status = _status(output)
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise TransferError(f"the output {output} exists and is {kind}. Name a file to write.")
    _check_room(output, size_bytes)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, size_bytes: int = 0) -> Iterator[Path]:
    """Yields a temporary folder beside ``path``, and on leaving gives it that name; any exception removes it.

    Args:
        path: The folder to write: one that does not exist yet, or an empty one.
        size_bytes: Space it needs, checked before the first byte; 0 for not known.

    Raises:
        TransferError: As `check_folder`, or the system refused to create, write or rename.

    Example:
        >>> with atomic_folder("resnet50") as temporary:
        ...     (temporary / "README.md").write_text(text)
    """
    folder = Path(path)
    check_folder(folder, size_bytes=size_bytes)
    temporary = _temporary_beside(folder)
    try:
        temporary.mkdir()
        yield temporary
        if folder.exists():
            folder.rmdir()  # empty, or it refuses: not every system renames onto a folder
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TransferError(
            f"cannot write {folder}: {error.strerror or error}. Nothing was left there. "
            "Write to another folder, or mend the cause and try again."
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check_folder(path: str | os.PathLike[str], *, size_bytes: int = 0) -> None:
    """Refuses a folder that cannot or must not be written; asks only, so call it before long work.

    Args:
        path: The folder to write.
        size_bytes: Space it needs; 0 for not known.

    Raises:
        TransferError: It is a file or not empty, the folder it stands in is missing, or the disk is too full.
    """
    folder = Path(path)
    _check_parent(folder)
    if os.path.lexists(folder):
        if folder.is_symlink() or not folder.is_dir():
            raise TransferError(f"{folder} exists and is not a folder. Name a folder to write.")
        if any(folder.iterdir()):
            raise TransferError(f"the folder {folder} is not empty. Name a new or an empty one; nothing is replaced.")
    _check_room(folder, size_bytes)


def _temporary_beside(output: Path) -> Path:
    return output.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"


def _check_parent(output: Path) -> None:
    if not os.path.isdir(output.parent):  # Path.is_dir raises where this user may not look
        raise TransferError(
            f"the output folder {output.parent} does not exist or cannot be entered. Create it, or name another. "
            f"Received: output={output}"
        )


def _check_room(output: Path, size_bytes: int) -> None:
    """Refuses an output in whose folder no file can be made (a right is missing, it is /proc), or too little fits."""
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise TransferError(
            f"cannot write {output}: {error.strerror}. No file can be made in {output.parent}; name another folder."
        ) from error
    free_bytes = shutil.disk_usage(output.parent).free
    if free_bytes < size_bytes:
        raise TransferError(
            f"not enough space for {output}: expected {size_bytes:,} bytes, {free_bytes:,} are free. "
            "Free some space, or name an output on another disk."
        )


def _status(path: Path) -> os.stat_result | None:
    """What the path leads to, or None where that is nothing (missing, a dangling or circular link)."""
    try:
        return path.stat()
    except OSError:
        return None


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # the error that brought us here tells more
        temporary.unlink()


def _sync_file(path: Path) -> None:
    """Waits until the bytes are on the disk: a rename may reach it before them."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Waits until the new name is on the disk, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC_FOLDER:  # the file is whole and in place either way
            raise TransferError(f"{folder} could not be synced to the disk: {error.strerror}") from error
