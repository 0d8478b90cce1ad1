"""What a training tells whoever follows it."""

from __future__ import annotations

from dataclasses import dataclass

from weight_transfer.description import Description
from weight_transfer.training.history import EpochRow


@dataclass(frozen=True)
class Step:
    """How far an epoch is.

    Attributes:
        epoch: Counted from 1.
        epochs: Of the whole training.
        done: Batches that were trained or validated on.
        total: Batches of the epoch; None where a stream does not know.
        loss: Mean over the images of the epoch so far; None where it was not looked at again.
        accuracy: Likewise.
    """

    epoch: int
    epochs: int
    done: int
    total: int | None
    loss: float | None = None
    accuracy: float | None = None


class Reporter:
    """Is told how a training goes. Here each method does nothing; a subclass shows what it likes.

    In a training of several processes the first one alone reports.

    Attributes:
        follows_steps: Whether `step` is called. For it the loss is fetched from the device now and then.
    """

    follows_steps = False

    def input(self, known: Description) -> None:
        """Is told, before the first epoch, how images become what the network takes."""

    def note(self, text: str) -> None:
        """Is told what happens beside the numbers, such as a learning rate that is lowered."""

    def step(self, step: Step) -> None:
        """Is told how far an epoch is."""

    def epoch(self, row: EpochRow, epochs: int, seconds: float) -> None:
        """Is told what an epoch came to, of how many epochs, and how long it took."""

    def close(self) -> None:
        """Is told that the training has ended, however it did."""


SILENT = Reporter()
