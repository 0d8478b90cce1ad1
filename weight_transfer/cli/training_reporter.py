"""What a training and an evaluation show on a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from weight_transfer.cli.terminal import err, facts, input_facts, out
from weight_transfer.description import Description
from weight_transfer.training.evaluation import Evaluation
from weight_transfer.training.history import EpochRow, History
from weight_transfer.training.reporter import Reporter, Step

HEADINGS = ("epoch", "loss", "accuracy", "val loss", "val accuracy", "learning rate", "seconds")
WIDTHS = (9, 9, 9, 9, 13, 14, 9)


class TerminalReporter(Reporter):
    """A table that grows by a line per epoch, and on a terminal a bar for the epoch that is on."""

    def __init__(self) -> None:
        self.follows_steps = err.is_terminal
        self._has_headings = False
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def input(self, known: Description) -> None:
        """Prints how images become what the network takes, each with how certain that is."""
        out.print(facts({name: escape(str(value)) for name, value in input_facts(known).items()}))

    def note(self, text: str) -> None:
        """Prints it."""
        self.close()
        out.print(f"[dim]{escape(text)}[/]", soft_wrap=True)

    def step(self, step: Step) -> None:
        """Moves the bar on."""
        if self._bar is None:
            self._bar = _epoch_bar()
            self._bar.start()
            self._task = self._bar.add_task(f"epoch {step.epoch}/{step.epochs}", total=step.total, numbers="")
        self._bar.update(self._task, completed=step.done)
        if step.loss is not None and step.accuracy is not None:
            self._bar.update(self._task, numbers=f"loss {step.loss:.4f}  accuracy {step.accuracy:.4f}")

    def epoch(self, row: EpochRow, epochs: int, seconds: float) -> None:
        """Prints a line in the bar's place."""
        self.close()
        if not self._has_headings:
            out.print("[bold]" + _line(HEADINGS) + "[/]", soft_wrap=True)
            self._has_headings = True
        numbers = (row.loss, row.accuracy, row.val_loss, row.val_accuracy)
        cells = [f"{row.epoch}/{epochs}", *("" if n is None else f"{n:.4f}" for n in numbers)]
        out.print(_line((*cells, f"{row.learning_rate:.3g}", f"{seconds:.1f}")), soft_wrap=True)

    def close(self) -> None:
        """Takes the bar away, so that what is printed next stands alone."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _epoch_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    return Progress(*columns, TextColumn("{task.fields[numbers]}"), console=err, transient=True)


def print_trained(history: History, output: str, monitor: str) -> None:
    """Prints what a training came to."""
    best, last = history.best(monitor), history.rows[-1] if history.rows else None
    rows = {"wrote": escape(output)}
    if best is not None:
        rows[f"best {monitor}"] = f"{getattr(best, monitor):.4f} at epoch {best.epoch}"
    if last is not None and last.val_accuracy is not None:
        rows["last"] = f"validation accuracy {last.val_accuracy:.4f} at epoch {last.epoch}"
    out.print(facts(rows))


def print_evaluation(found: Evaluation) -> None:
    """Prints loss and accuracy, and a row per class."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("class", "images", "recall", "precision", "most often taken for"):
        table.add_column(heading, justify="left" if heading in ("class", "most often taken for") else "right")
    for row in found.rows():
        table.add_row(
            escape(row.name),
            f"{row.images:,}",
            _share(row.recall),
            _share(row.precision),
            escape(row.mistaken_for or ""),
        )
    out.print(facts({"measured on": escape(found.measured_on), **input_facts(found.known)}))
    out.print()
    out.print(table)
    out.print(f"[bold]loss {found.loss:.4f}, accuracy {found.accuracy:.4f}[/] on {found.num_images:,} images")


def _line(cells: tuple[str, ...]) -> str:
    # A space before each, however wide: an exploding loss must not run into its neighbour.
    return "".join(f" {cell:>{width - 1}}" for cell, width in zip(cells, WIDTHS, strict=True))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
