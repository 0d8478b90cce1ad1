"""From a Keras checkpoint's optimizer to its state in PyTorch's layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.errors import MappingError, TransferError, quoted
from weight_transfer.identified import Identified
from weight_transfer.optimizer.classes import NEVER_NEGATIVE
from weight_transfer.optimizer.identify import FileOptimizer, optimizer_of
from weight_transfer.optimizer.layout import U_PRODUCT, Entry, match
from weight_transfer.optimizer.scalars import Scalars, read_scalars, u_product_of
from weight_transfer.optimizer.spec import OptimizerSpec
from weight_transfer.optimizer.state import OptimizerState
from weight_transfer.optimizer.variables import Variable, other_order, variables_of
from weight_transfer.tensor_file import Tensor


def read_optimizer_state(
    checkpoint: Checkpoint,
    identified: Identified,
    override: OptimizerSpec | None = None,
    like: Path | None = None,
    bad: list[str] | None = None,
) -> OptimizerState:
    """Reads an optimizer's state; the slots' numbers when they are asked for.

    Args:
        checkpoint: The file.
        identified: Its network.
        override: What a person says of the optimizer.
        like: Another file of the same model, compiled alike.
        bad: Takes a line for every slot that is read and holds what no step gives.

    Raises:
        CheckpointError: The optimizer's part of the file is damaged.
        MappingError: Its variables are not those of this network, or nothing tells their order.
        TransferError: There is none, its class is not known, or the file does not say what it needs.
    """
    label = checkpoint.path.name
    saved = checkpoint.optimizer
    if saved is None or not saved.arrays:
        raise TransferError(
            f"{quoted(label)}: holds no optimizer state. Expected a model that was saved after model.compile(), by "
            "model.save() or Keras 3's save_weights(). Convert it without --with-optimizer."
        )
    found = optimizer_of(checkpoint, saved, override or OptimizerSpec(), like)
    scalars = read_scalars(label, saved.arrays, found)
    entries = _entries(checkpoint, identified, scalars, found)
    arrays = {id(entry): array for entry, array in zip(entries, scalars.rest, strict=True)} if entries else {}
    kept = {slot.name for slot in found.spec.slots}
    bad = [] if bad is None else bad
    return OptimizerState(
        class_name=found.spec.row.name,
        config=found.config,
        iterations=scalars.iterations,
        learning_rate=scalars.learning_rate,
        tensors=tuple(
            _tensor(entry, arrays[id(entry)], identified, bad)
            for entry in entries
            if entry.variable is not None and entry.slot in kept
        ),
        frozen=_frozen(checkpoint, identified),
        u_product=_u_product(entries, scalars, found),
        loss_scale=scalars.loss_scale,
        loss=found.loss,
        assumed=(*found.assumed, *scalars.assumed),
    )


def _entries(
    checkpoint: Checkpoint, identified: Identified, scalars: Scalars, found: FileOptimizer
) -> tuple[Entry, ...]:
    label = checkpoint.path.name
    if not scalars.rest and (not found.spec.slots or scalars.iterations == 0):
        return ()  # without slots, or compiled and never trained
    if not scalars.rest:
        raise MappingError(
            f"{quoted(label)}: its optimizer counted {scalars.iterations} steps and has no slots: Keras saved it "
            "before it had any, as after loading a model without training it. Convert it without --with-optimizer."
        )
    variables = variables_of(checkpoint, identified)
    if variables is None:
        raise MappingError(
            f"{quoted(label)}: a weights-only file does not show in which order its model lists its layers, and so "
            "not whose each slot is. Give --config model.json (model.to_json()) or --like a full-model file of it."
        )
    if identified.own_config is not None or checkpoint.variables:
        return match(label, scalars.rest, found.spec, variables)
    return _without_a_config(label, identified, scalars, found, variables)


def _without_a_config(
    label: str, identified: Identified, scalars: Scalars, found: FileOptimizer, variables: tuple[Variable, ...]
) -> tuple[Entry, ...]:
    """The order of a ResNet's layers depends on which branch an addition names first; shapes must show it."""
    orders = [variables]
    if identified.network.resnet is not None:
        orders.append(other_order(variables, identified.network.resnet))
    fitting: list[tuple[Entry, ...]] = []
    errors: list[MappingError] = []
    for order in orders:
        try:
            entries = match(label, scalars.rest, found.spec, order)
        except MappingError as error:
            errors.append(error)
        else:
            fitting += [] if entries in fitting else [entries]
    if not fitting:
        raise errors[0]
    if len(fitting) > 1:
        raise MappingError(
            f"{quoted(label)}: the slots fit two orders of the network's layers, and a weights-only file does not "
            "show which is meant. Give --config model.json (model.to_json()) or --like a full-model file of it."
        )
    return fitting[0]


def _frozen(checkpoint: Checkpoint, identified: Identified) -> tuple[str, ...]:
    variables = variables_of(checkpoint, identified) or ()
    return tuple(dict.fromkeys(variable.module for variable in variables if not variable.learns))


def _u_product(entries: Sequence[Entry], scalars: Scalars, found: FileOptimizer) -> float | None:
    if found.spec.class_name != "Nadam":
        return None
    for entry, array in zip(entries, scalars.rest, strict=False):
        if entry.slot == U_PRODUCT:
            return float(array.read())
    dtype = scalars.rest[0].dtype if scalars.rest else np.dtype("float32")
    return u_product_of(scalars.iterations, found.spec.value("beta_1"), dtype)


def _tensor(entry: Entry, array: Array, identified: Identified, bad: list[str]) -> Tensor:
    if entry.variable is None:
        raise MappingError(f"{entry.slot} belongs to no weight")
    row = entry.variable.row
    if array.shape == row.shape:  # a kernel's slot lies as the kernel
        array = array.laid_out(identified.arrays[row.keras].layout)
    if not np.issubdtype(array.dtype, np.floating):
        raise MappingError(f"{entry.slot} of {row.keras}: expected floating-point numbers, received {array.dtype}")
    return Tensor(f"{entry.slot}/{row.torch}", array.dtype, row.torch_shape, _Reader(entry, array, bad))


@dataclass(frozen=True)
class _Reader:
    entry: Entry
    array: Array
    bad: list[str]

    def __call__(self) -> npt.NDArray[Any]:
        values = self.array.read()
        if self.entry.variable is None:
            return values
        row = self.entry.variable.row
        if not np.isfinite(values.sum(dtype=np.float64)):
            self._note(row.keras, int((~np.isfinite(values)).sum()), "not finite")
        if self.entry.slot in NEVER_NEGATIVE:
            self._note(row.keras, int((values < 0).sum()), "negative, which no step makes them")
        return row.to_torch(values)

    def _note(self, name: str, count: int, what: str) -> None:
        if count:
            numbers = math.prod(self.array.shape)
            self.bad.append(f"{self.entry.slot} of {name}: {count} of {numbers} numbers are {what}")
