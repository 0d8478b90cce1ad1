"""What a training did, epoch for epoch: ``history.csv``, with the same columns on both sides."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from weight_transfer.atomic import write_text
from weight_transfer.errors import TransferError


@dataclass(frozen=True)
class EpochRow:
    """One epoch.

    Attributes:
        epoch: From 1.
        loss: Mean over the epoch's images, as the weights changed, regularisation included.
        accuracy: Share of them whose most probable class was the label.
        val_loss: The same of the validation images, at the epoch's end; None without any.
        val_accuracy: Likewise.
        learning_rate: At the epoch's end, before a callback changes it; with a schedule that of the next step. It
            is what Keras writes.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float


COLUMNS = tuple(field.name for field in fields(EpochRow))


@dataclass(frozen=True)
class History:
    """Epochs in order, from 1.

    Attributes:
        rows: One per epoch.
    """

    rows: tuple[EpochRow, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[float]:
        """Returns one column's numbers; NaN where there is none."""
        values = (getattr(row, name) for row in self.rows)
        return [float("nan") if value is None else float(value) for value in values]

    def best(self, monitor: str = "val_loss") -> EpochRow | None:
        """Returns the epoch whose monitored value is the best, the first one of equals, never one that is no number.

        None where there is no such epoch.
        """
        sign = -1 if monitor.endswith("accuracy") else 1
        known = [row for row in self.rows if is_number(getattr(row, monitor))]
        return min(known, key=lambda row: sign * getattr(row, monitor), default=None)

    def upto(self, epoch: int) -> History:
        """Returns the epochs up to this one."""
        return History(tuple(row for row in self.rows if row.epoch <= epoch))

    def added(self, row: EpochRow) -> History:
        """Returns the history with one more epoch.

        Raises:
            TransferError: It is not the next one.
        """
        if row.epoch != len(self.rows) + 1:
            raise TransferError(f"the history has {len(self.rows)} epochs. Expected the next. Received: {row.epoch}")
        return History((*self.rows, row))


def is_number(value: float | None) -> bool:
    """Whether a monitored value is there and is no NaN, after which Keras takes nothing for better."""
    return value is not None and not math.isnan(value)


def read_history(path: Path) -> History:
    """Reads a ``history.csv``.

    Raises:
        TransferError: It is not one.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file, strict=True))
        rows = tuple(_row(line) for line in lines)
    except OSError as error:
        raise TransferError(
            f"{path}: cannot be read ({error.strerror}). Expected a run folder, or its history.csv."
        ) from error
    except (csv.Error, ValueError, TypeError, KeyError) as error:
        raise TransferError(f"{path}: not a history ({error}). Expected columns {','.join(COLUMNS)}.") from error
    if [row.epoch for row in rows] != list(range(1, len(rows) + 1)):
        raise TransferError(f"{path}: its epochs are not 1, 2, 3 and so on. It was changed by hand.")
    return History(rows)


def write_history(path: Path, history: History) -> None:
    """Writes a ``history.csv`` anew, so that a reader never sees half a line; numbers read back the same.

    Raises:
        TransferError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if value is None else repr(value) for value in _values(row)] for row in history.rows)
    write_text(path, text.getvalue())


def row_of(epoch: int, logs: Mapping[str, Any], learning_rate: float) -> EpochRow:
    """Returns an epoch's row from what Keras calls its logs: loss, accuracy, val_loss, val_accuracy.

    Args:
        epoch: From 1.
        logs: By name; what else it holds is left out.
        learning_rate: See `EpochRow`.
    """
    val_loss, val_accuracy = (None if logs.get(n) is None else float(logs[n]) for n in ("val_loss", "val_accuracy"))
    return EpochRow(epoch, float(logs["loss"]), float(logs["accuracy"]), val_loss, val_accuracy, float(learning_rate))


def _values(row: EpochRow) -> Sequence[float | None]:
    return [getattr(row, name) for name in COLUMNS]


def _row(line: Mapping[str, str]) -> EpochRow:
    if tuple(line) != COLUMNS:
        raise ValueError(f"columns {','.join(map(str, line))}")
    val_loss, val_accuracy = (float(line[name]) if line[name] else None for name in ("val_loss", "val_accuracy"))
    loss, accuracy, learning_rate = (float(line[name]) for name in ("loss", "accuracy", "learning_rate"))
    return EpochRow(int(line["epoch"]), loss, accuracy, val_loss, val_accuracy, learning_rate)
