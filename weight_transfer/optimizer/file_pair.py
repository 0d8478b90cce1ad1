"""A converted file and its optimizer's state beside it, both or neither."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from weight_transfer.atomic import atomic_write, check_output
from weight_transfer.converted import converted_content
from weight_transfer.description import Description
from weight_transfer.fingerprint import Fingerprint
from weight_transfer.optimizer.state import (
    OptimizerState,
    earlier_state,
    path_of_state,
    state_beside,
    state_content,
)
from weight_transfer.tensor_file import Tensor


def write_with_state(
    path: str | os.PathLike[str],
    tensors: Iterable[Tensor],
    description: Description,
    state: OptimizerState,
    on_written: Callable[[int], None] | None = None,
) -> Path:
    """Writes both files; neither gets its name before both are whole.

    A process that is killed between the two renames leaves the earlier weights and, beside the new state, the state
    that belongs to them, which `state_beside` finds: both files or neither.

    Args:
        path: Of the converted file.
        tensors: What goes into it, by state-dict key; each is read when its turn comes.
        description: For its metadata.
        state: What goes into the file beside it.
        on_written: Called with each tensor's size in bytes.

    Returns:
        The path of the state.

    Raises:
        TransferError: One of them cannot be written; an earlier pair is unchanged.
    """
    path, beside = Path(path), path_of_state(path)
    fingerprint = Fingerprint()
    content = converted_content(map(fingerprint.counting, tensors), description)
    size_of_state = sum(tensor.size_bytes for tensor in state.tensors)
    check_output(path, size_bytes=content.size_bytes + size_of_state)
    with (
        _earlier_kept(path) as set_aside,
        atomic_write(path, size_bytes=content.size_bytes) as weights,
        atomic_write(beside, size_bytes=size_of_state) as other,
    ):
        content.fill(weights, on_written)
        state_content(state, fingerprint.value, description.origin).fill(other, on_written)
        set_aside()
    return beside


@contextlib.contextmanager
def _earlier_kept(path: Path) -> Iterator[Callable[[], None]]:
    """Yields what gives the earlier state its other name, under which it waits until both new files are there."""
    beside = path_of_state(path)
    earlier, was_set_aside = earlier_state(beside), False

    def set_aside() -> None:
        nonlocal was_set_aside
        if beside.exists() and (not path.exists() or state_beside(path) == beside):
            os.replace(beside, earlier)
        was_set_aside = True

    try:
        yield set_aside
    except BaseException:
        if was_set_aside and earlier.exists():
            os.replace(earlier, beside)
        elif was_set_aside:
            beside.unlink(missing_ok=True)
        raise
    earlier.unlink(missing_ok=True)
