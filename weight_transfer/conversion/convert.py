"""Converting a Keras checkpoint: identify, account for every array, check every value, write."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.atomic import check_output
from weight_transfer.checkpoint import Array, read_checkpoint
from weight_transfer.conversion.description import describe, frozen_layers
from weight_transfer.conversion.export import NO_STATE_OF_FROZEN
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import write_converted
from weight_transfer.description import Description
from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.graph import Graph
from weight_transfer.identified import Identified
from weight_transfer.input_files import protect_inputs
from weight_transfer.optimizer.file_pair import write_with_state
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.grammar import parse_optimizer
from weight_transfer.optimizer.state import OptimizerState, path_of_state
from weight_transfer.tensor_file import Tensor
from weight_transfer.weight_mapping import Row, mapping

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
VARIANCES = ("/moving_variance", "/variance")


@dataclass(frozen=True)
class Conversion:
    """A conversion that was done.

    Attributes:
        output: The file written.
        description: What the checkpoint holds, and all that is known of it.
        num_arrays: Arrays converted: all of them.
        num_parameters: Numbers in them.
        assumed: What the file does not show, and where it was taken from.
        skipped: What the file holds beside weights (optimizer state, seeds), left out.
        optimizer: Its optimizer's state, where that was asked for.
        optimizer_output: The file that holds it.
    """

    output: Path
    description: Description
    num_arrays: int
    num_parameters: int
    assumed: tuple[str, ...]
    skipped: tuple[str, ...]
    optimizer: OptimizerState | None = None
    optimizer_output: Path | None = None

    def __repr__(self) -> str:
        counts = f"{self.num_arrays:,} arrays, {self.num_parameters:,} parameters"
        return f"<Conversion: {self.network.title}, {counts}, in {self.output}>"

    def _repr_html_(self) -> str:
        from weight_transfer.notebook import network_html, table_html  # for notebooks alone

        facts = {
            "written": self.output,
            "arrays": f"{self.num_arrays:,}, all of them",
            "parameters": f"{self.num_parameters:,}",
            "assumed": "; ".join(self.assumed),
            "left out": "; ".join(self.skipped),
        }
        rows = [(name, value) for name, value in facts.items() if value]
        return table_html("Converted", (), rows) + network_html(self.network)

    @property
    def network(self) -> Graph:
        """What the checkpoint holds."""
        return self.description.network


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    hints: Hints | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    with_optimizer: bool = False,
    optimizer: str | None = None,
    unfreeze: bool = False,
) -> Conversion:
    """Converts a Keras checkpoint to safetensors; loads no framework.

    Args:
        source: ``.h5``, ``.keras``, ``.weights.h5`` or ``.weights.json``, told by content.
        output: The safetensors file to write, atomically.
        hints: What the file may not show.
        on_progress: Called with (bytes done, bytes in all).
        with_optimizer: Write the optimizer's state too, to ``OUTPUT.optimizer.safetensors``.
        optimizer: What the file does not say of it: ``"Adam(learning_rate=1e-4)"``.
        unfreeze: Let layers learn that do not in Keras (``trainable=False``).

    Raises:
        CheckpointError: The source is no sound Keras checkpoint.
        ArchitectureError: What network it holds cannot be told, or it has layers that are not supported.
        MappingError: Arrays are missing, left over, of a wrong shape, or hold NaN.
        TransferError: The output cannot be written, or there is no optimizer state to carry over.

    Example:
        >>> convert("resnet50.h5", "resnet50.safetensors").num_arrays
        320
    """
    hints = hints or Hints()
    check_output(output)
    protect_inputs([output, path_of_state(output) if with_optimizer else None], [source, *hints.files])
    with read_checkpoint(source) as checkpoint:
        _check_name(Path(output))
        identified = identify(checkpoint, hints)
        rows = mapping(identified.network)
        bad: list[str] = []
        description = describe(checkpoint, identified, hints, unfreeze=unfreeze)
        written = tuple(tensors_of(identified, bad))
        state = None
        if with_optimizer:
            if unfreeze and frozen_layers(checkpoint, identified):
                raise TransferError(NO_STATE_OF_FROZEN)
            state = read_optimizer_state(checkpoint, identified, parse_optimizer(optimizer), hints.like, bad)
        tensors = (*written, *(() if state is None else state.tensors))
        total, done = sum(tensor.size_bytes for tensor in tensors), 0

        def on_written(size_bytes: int) -> None:
            nonlocal done
            done += size_bytes
            if on_progress is not None:
                on_progress(done, total)
            if done == total and bad:  # inside the atomic write: raising leaves no file
                raise MappingError(f"{checkpoint.path.name}: values no trained network has:{listing(bad)}")

        beside = None
        if state is None:
            write_converted(output, written, description, on_written)
        else:
            beside = write_with_state(output, written, description, state, on_written)
        return Conversion(
            output=Path(output),
            description=description,
            num_arrays=len(rows),
            num_parameters=sum(math.prod(row.shape) for row in rows),
            assumed=identified.assumed,
            skipped=checkpoint.skipped,
            optimizer=state,
            optimizer_output=beside,
        )


def _check_name(output: Path) -> None:
    if output.suffix.lower() in KERAS_SUFFIXES:
        raise TransferError(
            f"{output}: a Keras checkpoint is converted to safetensors, which is not what this name says. Name it "
            "*.safetensors. For another container of Keras's, convert that file back, to this name."
        )


def to_torch(identified: Identified, source: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Returns an identified checkpoint's arrays as a state dict of NumPy arrays.

    Raises:
        MappingError: Arrays hold NaN, infinity or a negative variance.
    """
    bad: list[str] = []
    state = {tensor.name: tensor.read() for tensor in tensors_of(identified, bad)}
    if bad:
        raise MappingError(f"{source.name}: values no trained network has:{listing(bad)}")
    return state


def tensors_of(identified: Identified, bad: list[str]) -> Iterator[Tensor]:
    """Yields the tensors to write, cast to the network's dtype as Keras casts what it loads.

    Args:
        identified: The network and its arrays.
        bad: Takes a line for each tensor that is read and holds what no trained network has.
    """
    for row in mapping(identified.network):
        array = identified.arrays[row.keras]
        dtype = array.dtype if row.weight.whole else np.dtype(identified.precision.stored)
        yield Tensor(row.torch, dtype, row.torch_shape, _Reader(row, array, dtype, bad))


@dataclass(frozen=True)
class _Reader:
    row: Row
    array: Array
    dtype: np.dtype[Any]
    bad: list[str]

    def __call__(self) -> npt.NDArray[np.generic]:
        values = self.array.read()
        if values.shape != self.row.shape:
            raise TransferError(f"{self.row.keras}: changed while it was read")
        finite = _num_finite(values)
        self._note(values.size - finite, "not finite")
        if self.row.keras.endswith(VARIANCES):
            self._note(int((values < 0).sum()), "negative, and a variance")
        if values.dtype != self.dtype:
            with np.errstate(over="ignore"):
                values = values.astype(self.dtype)
            self._note(finite - _num_finite(values), f"too large for {self.dtype.name}, in which the network computes")
        return self.row.to_torch(values)

    def _note(self, count: int, what: str) -> None:
        if count:
            self.bad.append(f"{self.row.keras}: {count} of {math.prod(self.row.shape)} numbers are {what}")


def _num_finite(values: npt.NDArray[Any]) -> int:
    # The sum is NaN or infinite if any number is: one pass, and a mask only where it is needed.
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.kind != "f" or np.isfinite(values.sum(dtype=np.float64)):
            return values.size
    return int(np.isfinite(values).sum())
