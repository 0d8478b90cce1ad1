"""The run folder: what a training leaves behind, by the same names on both sides."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weight_transfer.atomic import write_text
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.state import path_of_state
from weight_transfer.training.history import History, read_history
from weight_transfer.training.recipe import Recipe

# By package: names of the best checkpoint and of the last one.
CHECKPOINTS: Mapping[str, tuple[str, str]] = {
    "resnet_keras": ("best.keras", "last.keras"),
    "resnet_torch": ("best.safetensors", "last.ckpt"),
}
ADVICE = "Lower --learning-rate, or clip the gradients: --optimizer 'Adam(clipnorm=1.0)'."
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # of torchrun, Lightning and Slurm


@dataclass(frozen=True)
class RunFolder:
    """A run folder, whether or not it exists yet.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """``recipe.json``: the recipe, which side ran it, and that side's own options."""
        return self.path / "recipe.json"

    @property
    def split(self) -> Path:
        """``split.json``: which files of a folder were learned from, and which were kept apart."""
        return self.path / "split.json"

    @property
    def history(self) -> Path:
        """``history.csv``."""
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        """``curves.png``."""
        return self.path / "curves.png"

    @property
    def summary(self) -> Path:
        """``summary.txt``, the model's layers."""
        return self.path / "summary.txt"

    @property
    def tensorboard(self) -> Path:
        """``tensorboard``, a folder of event files."""
        return self.path / "tensorboard"

    def files(self, package: str) -> tuple[Path, ...]:
        """All that a training writes there, but for its event files."""
        best = self.best(package)
        return self.recipe, self.history, self.curves, self.summary, best, path_of_state(best), self.last(package)

    def best(self, package: str) -> Path:
        """The checkpoint with the best monitored value."""
        return self.path / CHECKPOINTS[package][0]

    def last(self, package: str) -> Path:
        """The checkpoint of the last whole epoch: all that a resumed run needs."""
        return self.path / CHECKPOINTS[package][1]

    def advised(self, problem: str, package: str) -> str:
        """Returns what went wrong with a training's numbers, with what is left of it and what to do.

        Args:
            problem: A clause without a full stop.
            package: The side that trains.
        """
        last = self.last(package)
        kept = f"The last good checkpoint is {last}." if last.exists() else "There is no checkpoint before it."
        return f"{problem}. {kept} {ADVICE}"

    def found_best(self) -> Path:
        """Returns the best checkpoint, whichever side wrote it.

        Raises:
            TransferError: There is none.
        """
        for package in CHECKPOINTS:
            if self.best(package).exists():
                return self.best(package)
        names = " or ".join(best for best, _ in CHECKPOINTS.values())
        raise TransferError(f"{self.path}: no best checkpoint. Expected {names}, which a training writes.")

    def begin(self, recipe: Recipe, package: str, side_options: Mapping[str, Any]) -> None:
        """Makes the folder and writes down what is going to be done in it.

        Raises:
            TransferError: The folder already holds a run of an epoch or more, or cannot be written.
        """
        checkpoints = [self.path / name for names in CHECKPOINTS.values() for name in names]
        if len(self.read_history()) or any(checkpoint.exists() for checkpoint in checkpoints):
            raise TransferError(
                f"{self.path} already holds a run. Go on with it by --resume {self.path}, or name another folder."
            )
        self.write(recipe, package, side_options)
        self.split.unlink(missing_ok=True)  # of a run that got nowhere

    def write(self, recipe: Recipe, package: str, side_options: Mapping[str, Any]) -> None:
        """Writes ``recipe.json``.

        Raises:
            TransferError: It cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransferError(f"{self.path}: cannot be made ({error.strerror}). Name another run folder.") from error
        content = {"side": package, "side_options": dict(side_options), "recipe": recipe.to_dict()}
        write_text(self.recipe, json.dumps(content, indent=2) + "\n")

    def discard(self, package: str, more: Iterable[Path]) -> None:
        """Removes a folder that `begin` made, where the training was refused before its first step.

        A training writes ``history.csv`` when it begins. What others put into the folder stays, and the folder with it.

        Args:
            package: The side.
            more: Files that the recipe names and that may be in it.
        """
        if self.history.exists():
            return
        inside = [path for path in more if path.resolve().is_relative_to(self.path.resolve())]
        for path in (*self.files(package), self.split, *inside):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            self.path.rmdir()

    def read(self) -> tuple[Recipe, str, dict[str, Any]]:
        """Returns what ``recipe.json`` says: the recipe, the side's package, its own options.

        Raises:
            TransferError: There is no such file, or it is damaged.
        """
        try:
            content = json.loads(self.recipe.read_text(encoding="utf-8"))
            recipe, package, options = content["recipe"], content["side"], dict(content["side_options"])
            if package not in CHECKPOINTS:
                raise ValueError(f"side {package!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TransferError(f"{self.recipe}: not a run's recipe ({error}). Expected a run folder.") from error
        return Recipe.from_dict(recipe), package, options

    def read_history(self) -> History:
        """Returns the history, empty where there is none yet."""
        return read_history(self.history) if self.history.exists() else History()


def is_first_process() -> bool:
    """Whether this process speaks for all: the only one, or the first of a distributed run."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)
