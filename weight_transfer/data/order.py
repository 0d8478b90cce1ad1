"""In which order an epoch takes the images: drawn from (seed, epoch), or read from a file that both sides share."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weight_transfer.atomic import atomic_write
from weight_transfer.data.image_set import Indices
from weight_transfer.errors import TransferError

Order = Callable[[int], Indices]  # from an epoch, counted from 0, to the indices in order

# What a draw is for: two uses of one seed are two streams of numbers.
ORDER_DRAW, AUGMENTATION_DRAW, SHARD_DRAW = range(3)


class Shuffled:
    """Reshuffles for every epoch; an epoch's order depends on the seed and its number alone.

    Args:
        indices: What to shuffle.
        seed: Of the run.
    """

    def __init__(self, indices: Indices, seed: int) -> None:
        self.indices, self.seed = indices, seed
        self._last: tuple[int, Indices] | None = None  # asked for again with every batch

    def __call__(self, epoch: int) -> Indices:
        """Returns the indices in the order of an epoch, counted from 0."""
        last = self._last
        if last is None or last[0] != epoch:
            drawn = np.random.default_rng((self.seed, ORDER_DRAW, epoch)).permutation(self.indices)
            self._last = last = epoch, drawn
        return last[1]


@dataclass(frozen=True)
class Fixed:
    """The same order in every epoch.

    Attributes:
        indices: In order.
    """

    indices: Indices

    def __call__(self, epoch: int) -> Indices:
        """Returns the indices in order."""
        return self.indices


@dataclass(frozen=True)
class Written:
    """An order that a file holds.

    Attributes:
        rows: (epochs, N).
    """

    rows: Indices

    def __call__(self, epoch: int) -> Indices:
        """Returns the indices in the order of an epoch, counted from 0."""
        row: Indices = self.rows[epoch]
        return row


def write_order(path: Path, order: Order, epochs: int) -> None:
    """Writes the order of so many epochs: ``order``, (epochs, N) of int64, in an ``.npz``.

    Raises:
        TransferError: The file cannot be written.
    """
    rows = np.stack([order(epoch) for epoch in range(epochs)])
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, order=rows)


def read_order(path: Path, indices: Indices, epochs: int) -> Order:
    """Reads an order file.

    Args:
        path: What `write_order` wrote, or anybody's ``.npz`` of such an array.
        indices: Which images may be in it, each once an epoch.
        epochs: How many epochs it must have at least.

    Raises:
        TransferError: It is not such a file, has too few epochs, or takes other images.
    """
    rows = _rows(path)
    if len(rows) < epochs:
        raise TransferError(f"{path}: the order of {len(rows)} epochs. Expected {epochs}, as many as are trained.")
    expected = np.sort(indices)
    for epoch, row in enumerate(rows[:epochs]):
        if not np.array_equal(np.sort(row), expected):
            raise TransferError(
                f"{path}: epoch {epoch + 1} does not take each of the {len(indices)} training images once. "
                "Expected the order of the same data, split by the same seed and share."
            )
    return Written(rows)


def _rows(path: Path) -> Indices:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rows = arrays["order"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TransferError(f"{path}: not an order file ({error}). Expected what --write-order wrote.") from error
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise TransferError(
            f"{path}: expected an array order, (epochs, N) of int64. Received: {rows.shape} of {rows.dtype}"
        )
    whole: Indices = rows.astype(np.int64)
    return whole
