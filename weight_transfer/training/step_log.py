"""Every step's loss, for whoever compares two runs step by step: ``step,epoch,loss,learning_rate``."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from weight_transfer.errors import TransferError


@dataclass(frozen=True)
class StepRow:
    """One step.

    Attributes:
        step: From 1, over the whole run.
        epoch: From 1.
        loss: Of the step's batch, before the step.
        learning_rate: Of the step.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float


COLUMNS = tuple(field.name for field in fields(StepRow))
LONGEST = 100  # characters of another file's columns in a message


class StepLog:
    """A file that grows by an epoch's steps at a time.

    Args:
        path: The CSV file; what it holds of later epochs, from before a kill, is dropped.
        epochs_before: How many epochs are done.

    Raises:
        TransferError: The file cannot be written, or holds something else.
    """

    def __init__(self, path: Path, epochs_before: int = 0) -> None:
        self._path = path
        kept = [row for row in check_log(path) if row.epoch <= epochs_before]
        self._next = kept[-1].step + 1 if kept else 1
        self._waiting: list[StepRow] = []
        self._write(kept, "w")

    def add(self, epoch: int, loss: float, learning_rate: float) -> None:
        """Notes the next step.

        Args:
            epoch: From 1.
            loss: Of its batch.
            learning_rate: Of the step.
        """
        self._waiting.append(StepRow(self._next, epoch, loss, learning_rate))
        self._next += 1

    def flush(self) -> None:
        """Writes the steps that were noted; call it when an epoch is over."""
        self._write(self._waiting, "a")
        self._waiting = []

    def _write(self, rows: list[StepRow], mode: str) -> None:
        try:
            with self._path.open(mode, newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                if mode == "w":
                    writer.writerow(COLUMNS)
                writer.writerows([row.step, row.epoch, repr(row.loss), repr(row.learning_rate)] for row in rows)
        except OSError as error:
            raise TransferError(f"{self._path}: cannot be written ({error.strerror}).") from error


def check_log(path: Path) -> list[StepRow]:
    """Returns what a file to write holds already, which is nothing where there is none.

    Raises:
        TransferError: It holds something else than steps, and would be lost.
    """
    try:
        return read_steps(path) if path.exists() else []
    except TransferError as error:
        raise TransferError(f"{error} It would be replaced: name another file.") from error


def read_steps(path: Path) -> list[StepRow]:
    """Reads a file of steps.

    Raises:
        TransferError: It is none.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            if tuple(lines.fieldnames or COLUMNS) != COLUMNS:
                raise ValueError(f"columns {','.join(lines.fieldnames or ())}"[:LONGEST])
            return [
                StepRow(int(line["step"]), int(line["epoch"]), float(line["loss"]), float(line["learning_rate"]))
                for line in lines
            ]
    except (OSError, csv.Error, ValueError, TypeError, KeyError) as error:
        raise TransferError(f"{path}: not a log of steps ({error}). Expected columns {','.join(COLUMNS)}.") from error
