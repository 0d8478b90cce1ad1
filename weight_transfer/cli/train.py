"""``train``: a ResNet by the tutorial's recipe, in PyTorch or in Keras."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, cast

import rich_click as click

from weight_transfer.cli import training_options as options
from weight_transfer.cli.applicability import given_options, refuse_idle
from weight_transfer.cli.input_options import NAMES
from weight_transfer.cli.options import as_json
from weight_transfer.cli.running import python_signals
from weight_transfer.cli.terminal import print_json
from weight_transfer.cli.training_options import PACKAGES, Framework, framework_of, of_framework
from weight_transfer.cli.training_reporter import TerminalReporter, print_trained
from weight_transfer.data import Part
from weight_transfer.data.shards import expanded
from weight_transfer.errors import TransferError
from weight_transfer.input_files import protect_inputs
from weight_transfer.progress import OnProgress
from weight_transfer.training.compiled import as_compiled
from weight_transfer.training.evaluation import Evaluation
from weight_transfer.training.history import History
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.reporter import SILENT, Reporter
from weight_transfer.training.run_folder import RunFolder, is_first_process
from weight_transfer.training.step_log import check_log


class Side(Protocol):
    """A framework's ``training`` package."""

    def train(self, recipe: Recipe, *, resume: bool, reporter: Reporter, **own: Any) -> History:
        """Trains, and returns the whole history; the run folder exists and holds the recipe.

        Args:
            recipe: What to do.
            resume: Whether to go on from the run folder's last checkpoint.
            reporter: Is told how it goes.
            **own: Options that this framework alone has.
        """

    def evaluate(
        self, recipe: Recipe, checkpoint: Path, *, part: Part | None, on_progress: OnProgress, **own: Any
    ) -> Evaluation:
        """Evaluates a checkpoint on a part of a recipe's data."""


def side_of(framework: Framework) -> Side:
    """Imports a framework's ``training`` package."""
    return cast(Side, importlib.import_module(f"{PACKAGES[framework]}.training"))


def train_command(only: Framework | None = None) -> click.Command:
    """Makes the command; the framework is imported when it runs, not before.

    Args:
        only: The framework of a program that is of one.
    """
    program = options.program_of(only)
    example = f"{program} train --data cifar-10-python.tar.gz -o runs/first"
    again = f"{program} train --resume runs/first --epochs 60"

    @click.command("train", epilog=f"Examples: {example}\n\n{again}")
    @options.added((*options.choice_of_framework(only), *options.TRAIN))
    @options.added(options.framework_options("train", only))
    @click.option("--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="Go on with this run folder.")
    @as_json
    def train(resume: Path | None, json: bool, framework: Framework | None = only, **values: Any) -> None:
        """Train a ResNet by the tutorial's recipe, from scratch, or from a checkpoint."""
        existed = resume is not None or Path(str(values["output"])).exists()
        side, recipe, own, notes = _begun(framework, resume, values)
        reporter = SILENT if json else TerminalReporter()
        for note in notes if is_first_process() else ():
            reporter.note(note)
        try:
            # Lightning ends by itself on Ctrl-C and SIGTERM, with a checkpoint.
            with python_signals() if side == "torch" else contextlib.nullcontext():
                history = side_of(side).train(recipe, resume=resume is not None, reporter=reporter, **own)
        except Exception:
            if not existed and is_first_process():
                written = (recipe.write_order, recipe.log_steps)
                RunFolder(Path(recipe.output)).discard(PACKAGES[side], [Path(path) for path in written if path])
            raise
        finally:
            reporter.close()
        if not is_first_process():
            return
        if json:
            print_json(trained(recipe, history))
        else:
            print_trained(history, recipe.output, recipe.monitor)

    return cast(click.Command, train)


def _begun(
    framework: Framework | None, resume: Path | None, values: dict[str, Any]
) -> tuple[Framework, Recipe, dict[str, Any], tuple[str, ...]]:
    """The framework, the recipe and that framework's own options, written down in the run folder; and what a person
    should know of them.
    """
    given = given_options()
    shared, others = split_options(values)
    if resume is None:
        side = framework or "torch"
        recipe, notes = as_compiled(options.recipe_of(shared), given)
        own = of_framework(side, others)
        refuse_idle(*options.idle_in_training(recipe))
        _protect_inputs(recipe, PACKAGES[side])
        if is_first_process():
            RunFolder(Path(recipe.output)).begin(recipe, PACKAGES[side], own)
        return side, recipe, own, notes
    folder = RunFolder(resume)
    recipe, package, own_before = folder.read()
    side = framework_of(package)
    if framework not in (None, side):
        raise TransferError(
            f"--framework {framework}: {resume} is a run of {package}. Go on with it by "
            f"weight-transfer train --resume {resume}"
        )
    changed = {name: value for name, value in shared.items() if name in given}
    recipe = options.recipe_of({**changed, "output": str(resume)}, onto=recipe)
    refuse_idle(*options.idle_in_resuming(folder, package), *options.idle_in_training(recipe))
    own = of_framework(side, others)
    own = {**own, **own_before, **{name: value for name, value in own.items() if name in given}}
    _check_inside(folder, recipe, given)
    _protect_inputs(recipe, package)
    if is_first_process():
        folder.write(recipe, package, own)
    return side, recipe, own, ()


def split_options(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what a person said of the recipe, and of the frameworks."""
    shared = {name: value for name, value in values.items() if name in _OF_THE_RECIPE}
    return shared, {name: value for name, value in values.items() if name not in _OF_THE_RECIPE}


def _protect_inputs(recipe: Recipe, package: str) -> None:
    """Refuses a training that would write over what it reads, or over a file that is no log with its log of steps."""
    data = expanded(recipe.data) if "{" in recipe.data and "://" not in recipe.data else [recipe.data]
    written = (recipe.write_order, recipe.log_steps, *RunFolder(Path(recipe.output)).files(package))
    protect_inputs(written, [*data, recipe.checkpoint, recipe.initial_weights, recipe.order])
    if recipe.log_steps is not None:
        check_log(Path(recipe.log_steps))


def _check_inside(folder: RunFolder, recipe: Recipe, given: Collection[str]) -> None:
    """Refuses a run folder, perhaps somebody else's, whose recipe writes elsewhere than in it."""
    for name in ("write_order", "log_steps"):
        path = getattr(recipe, name)
        inside = path is None or Path(path).resolve().is_relative_to(folder.path.resolve())
        if not inside and name not in given:
            flag = f"--{name.replace('_', '-')}"
            raise TransferError(
                f"{folder.recipe}: it says to write {path}, which is outside of the run folder. If that is meant, "
                f"say so: {flag} {path}"
            )


def trained(recipe: Recipe, history: History) -> dict[str, Any]:
    """Returns what a training came to, as JSON can hold it."""
    best = history.best(recipe.monitor)
    return {
        "output": recipe.output,
        "epochs": len(history),
        "stopped_early": len(history) < recipe.epochs,
        "best": None if best is None else dict(best.__dict__),
        "last": dict(history.rows[-1].__dict__) if history.rows else None,
    }


# Names that the shared options give to click: the recipe's fields, the parts of some, and two ways to leave a callback
# out.
_OF_THE_RECIPE = frozenset({*Recipe.__dataclass_fields__, *NAMES, "no_reduce_lr", "no_early_stopping"})
