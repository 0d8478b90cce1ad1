"""Memory that one stage of a verification leaves to the next, where the system's allocator is glibc's."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator

M_MMAP_THRESHOLD = -3  # of mallopt
MIB = 2**20
LARGE, USUAL = 4 * MIB, 32 * MIB  # the second is the largest that glibc raises its own threshold to


def free_memory() -> None:
    """Gives memory that is no longer needed back to the system, as far as the system's allocator can be asked to."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def large_blocks_given_back() -> Iterator[None]:
    """Has tensors of 4 MiB and more given back as soon as they are free, for a stage that needs most memory.

    Each new one is then fresh pages, which takes a fifth more time.
    """
    _map_from(LARGE)
    try:
        yield
    finally:
        _map_from(USUAL)


def _map_from(size_bytes: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, size_bytes)
