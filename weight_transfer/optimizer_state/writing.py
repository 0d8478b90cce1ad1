"""A converted file and its optimizer's state beside it, both or neither."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from weight_transfer.atomic import atomic_write, check_output
from weight_transfer.converted import Tensor, ToWrite, fill_converted
from weight_transfer.optimizer_state.state import (
    Fingerprint,
    OptimizerState,
    fill_state,
    path_of_state,
    size_of_state,
)


def write_with_state(
    path: str | os.PathLike[str],
    written: ToWrite,
    state: OptimizerState,
    on_written: Callable[[int], None] | None = None,
) -> Path:
    """Writes both files; neither gets its name before both are whole.

    Args:
        path: Of the converted file.
        written: What goes into it.
        state: What goes into the file beside it.
        on_written: Called with each tensor's size in bytes.

    Returns:
        The path of the state.

    Raises:
        TransferError: One of them cannot be written; an earlier pair is unchanged.
    """
    path, beside = Path(path), path_of_state(path)
    check_output(path, size_bytes=written.size_bytes + size_of_state(state))
    fingerprint = Fingerprint()
    counted = tuple(_counted(tensor, fingerprint) for tensor in written.tensors)
    with (
        atomic_write(path, size_bytes=written.size_bytes) as weights,
        atomic_write(beside, size_bytes=size_of_state(state)) as other,
    ):
        fill_converted(weights, dataclasses.replace(written, tensors=counted), on_written)
        fill_state(other, state, fingerprint.value, written.description.origin, on_written)
    return beside


def _counted(tensor: Tensor, fingerprint: Fingerprint) -> Tensor:
    def read() -> npt.NDArray[Any]:
        array = tensor.read()
        fingerprint.add(tensor.name, array)
        return array

    return dataclasses.replace(tensor, read=read)
