"""Writing a folder so that a reader sees nothing or the whole of it, as `weight_transfer.atomic` does for a file."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from weight_transfer.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, check_writable
from weight_transfer.errors import TransferError


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
    temporary = folder.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
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
    if not os.path.isdir(folder.parent):  # Path.is_dir raises where this user may not look
        raise TransferError(
            f"the folder {folder.parent} does not exist or cannot be entered. Create it, or name another. "
            f"Received: folder={folder}"
        )
    if os.path.lexists(folder):
        if folder.is_symlink() or not folder.is_dir():
            raise TransferError(f"{folder} exists and is not a folder. Name a folder to write.")
        if any(folder.iterdir()):
            raise TransferError(f"the folder {folder} is not empty. Name a new or an empty one; nothing is replaced.")
    check_writable(folder)
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < size_bytes:
        raise TransferError(
            f"not enough space for {folder}: expected {size_bytes:,} bytes, {free_bytes:,} are free. "
            "Free some space, or name a folder on another disk."
        )
