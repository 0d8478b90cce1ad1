"""Memory that one stage of a verification leaves to the next."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def free_memory() -> None:
    """Gives memory that is no longer needed back to the system, as far as the system's allocator can be asked to."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
