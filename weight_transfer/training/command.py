"""``train`` and ``evaluate``, the same for ``python -m resnet_keras`` and ``python -m resnet_torch``."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import rich_click as click
from rich.markup import escape

from weight_transfer.cli.applicability import given_options, refuse_idle
from weight_transfer.cli.input_options import NAMES
from weight_transfer.cli.terminal import out, print_json
from weight_transfer.data import PARTS, Part
from weight_transfer.data.shards import expanded
from weight_transfer.errors import TransferError
from weight_transfer.input_files import protect_inputs
from weight_transfer.training import options
from weight_transfer.training.compiled import as_compiled
from weight_transfer.training.curves import draw_curves, read_curve
from weight_transfer.training.evaluation import Evaluation
from weight_transfer.training.history import History
from weight_transfer.training.printing import print_evaluation, print_notes, print_trained
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.run_folder import CHECKPOINTS, RunFolder, is_first_process
from weight_transfer.training.step_log import check_log


class Side(Protocol):
    """The module of a framework's side."""

    def train(self, recipe: Recipe, *, resume: bool, quiet: bool, **side_options: Any) -> History:
        """Trains, and returns the whole history; the run folder exists and holds the recipe.

        Args:
            recipe: What to do.
            resume: Whether to go on from the run folder's last checkpoint.
            quiet: Print nothing to standard output.
            **side_options: What this side alone has.
        """

    def evaluate(
        self, recipe: Recipe, checkpoint: Path, *, part: Part | None, quiet: bool, **side_options: Any
    ) -> Evaluation:
        """Evaluates a checkpoint on a part of a recipe's data."""


@dataclass(frozen=True)
class SideOptions:
    """What a side has beyond the shared options.

    Attributes:
        train: Options of ``train``, made with `click.option`.
        evaluate: Options of ``evaluate``.
    """

    train: tuple[Callable[[Any], Any], ...] = ()
    evaluate: tuple[Callable[[Any], Any], ...] = ()


_NOTHING_BEYOND = SideOptions()


def training_commands(
    package: str, side_module: str, side_options: SideOptions = _NOTHING_BEYOND
) -> tuple[click.Command, ...]:
    """Makes a side's commands; the framework is imported when one runs, not before.

    Args:
        package: ``resnet_keras`` or ``resnet_torch``.
        side_module: Name of the module that is its `Side`.
        side_options: What it has beyond the shared options.
    """
    return (
        _train(package, side_module, side_options.train),
        _evaluate(package, side_module, side_options.evaluate),
        curves_command,
    )


def _train(package: str, side_module: str, side_options: Sequence[Callable[[Any], Any]]) -> click.Command:
    example = f"python -m {package} train --data cifar-10-python.tar.gz -o runs/first"
    again = f"python -m {package} train --resume runs/first --epochs 60"

    @click.command("train", epilog=f"Examples: {example}\n\n{again}")
    @options.added(options.TRAIN)
    @options.added(tuple(side_options))
    @click.option("--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="Go on with this run folder.")
    @click.option("--json", "json", is_flag=True, help="Print one JSON object instead of tables.")
    def train(resume: Path | None, json: bool, **said: Any) -> None:
        """Train a ResNet by the tutorial's recipe, from scratch, or from a checkpoint."""
        existed = resume is not None or Path(str(said["output"])).exists()
        recipe, own, notes = _begun(package, resume, said)
        if not json and is_first_process():
            print_notes(notes)
        side = cast(Side, importlib.import_module(side_module))
        try:
            history = side.train(recipe, resume=resume is not None, quiet=json, **own)
        except Exception:
            if not existed and is_first_process():
                written = (recipe.write_order, recipe.log_steps)
                RunFolder(Path(recipe.output)).discard(package, [Path(path) for path in written if path])
            raise
        if not is_first_process():
            return
        if json:
            print_json(trained(recipe, history))
        else:
            print_trained(history, recipe.output, recipe.monitor)

    return cast(click.Command, train)


def _begun(package: str, resume: Path | None, said: dict[str, Any]) -> tuple[Recipe, dict[str, Any], tuple[str, ...]]:
    """The recipe and the side's own options, written down in the run folder, and what a person should know of them."""
    given = given_options()
    shared = {name: value for name, value in said.items() if name in _SHARED}
    own = {name: value for name, value in said.items() if name not in _SHARED}
    if resume is None:
        recipe, notes = as_compiled(options.recipe_of(shared), given)
        refuse_idle(*options.idle_in_training(recipe))
        _protect_inputs(recipe, package)
        if is_first_process():
            RunFolder(Path(recipe.output)).begin(recipe, package, own)
        return recipe, own, notes
    folder = RunFolder(resume)
    recipe, side, own_before = folder.read()
    if side != package:
        raise TransferError(f"{resume}: a run of {side}. Go on with it by python -m {side} train --resume {resume}")
    changed = {name: value for name, value in shared.items() if name in given}
    recipe = options.recipe_of({**changed, "output": str(resume)}, onto=recipe)
    refuse_idle(*options.idle_in_resuming(folder, package), *options.idle_in_training(recipe))
    own = {**own, **own_before, **{name: value for name, value in own.items() if name in given}}
    _check_inside(folder, recipe, given)
    _protect_inputs(recipe, package)
    if is_first_process():
        folder.write(recipe, package, own)
    return recipe, own, ()


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


def _evaluate(package: str, side_module: str, side_options: Sequence[Callable[[Any], Any]]) -> click.Command:
    example = f"python -m {package} evaluate runs/first"
    other = f"python -m {package} evaluate resnet50.h5 --data cifar-10-python.tar.gz"

    @click.command("evaluate", epilog=f"Examples: {example}\n\n{other}")
    @click.argument("model", type=click.Path(path_type=Path))
    @options.added(options.EVALUATE)
    @click.option(
        "--part", type=click.Choice(PARTS), help="Which images; by default test, or validation where there is no test."
    )
    @options.added(tuple(side_options))
    @click.option("--json", "json", is_flag=True, help="Print one JSON object instead of tables.")
    def evaluate(model: Path, part: Part | None, json: bool, **said: Any) -> None:
        """Evaluate MODEL: a run folder's best checkpoint, a Keras checkpoint or a converted file.

        Images are preprocessed and loaded as MODEL says; where it does not, as options say or as is guessed.
        """
        shared = {name: value for name, value in said.items() if name in _SHARED}
        own = {name: value for name, value in said.items() if name not in _SHARED}
        recipe, checkpoint = _to_evaluate(model, shared)
        refuse_idle(*options.idle_in_evaluating(recipe, part))
        side = cast(Side, importlib.import_module(side_module))
        found = side.evaluate(recipe, checkpoint, part=part, quiet=json, **own)
        if is_first_process():
            print_json(found.to_dict()) if json else print_evaluation(found)

    return cast(click.Command, evaluate)


def _to_evaluate(model: Path, shared: dict[str, Any]) -> tuple[Recipe, Path]:
    folder = RunFolder(model if model.is_dir() else model.parent)
    is_of_a_run = model.name in {name for names in CHECKPOINTS.values() for name in names} and folder.recipe.exists()
    if not model.is_dir() and not is_of_a_run:
        return options.recipe_of({**shared, "output": str(model.parent)}), model
    recipe, _, _ = folder.read()
    given = {name: value for name, value in shared.items() if name in given_options()}
    recipe = dataclasses.replace(options.recipe_of(given, onto=recipe), output=str(folder.path))
    return recipe, folder.found_best() if model.is_dir() else model


@click.command("curves", epilog="Example: curves runs/keras runs/torch -o curves.png")
@click.argument("runs", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A .png, .svg or .pdf to write.")
def curves_command(runs: tuple[str, ...], output: Path) -> None:
    """Draw the curves of RUNS: run folders or history.csv files, LABEL=RUN to name one.

    Runs of one label, by default of one framework, are taken for seeds of the same training: a mean and a band.
    """
    curves = [read_curve(run) for run in runs]
    protect_inputs([output], [curve.source for curve in curves])
    draw_curves(curves, output)
    out.print(f"wrote {escape(str(output))}", soft_wrap=True)


# Names that the shared options give to click: the recipe's fields, the parts of some, and two ways to leave a callback
# out.
_SHARED = frozenset({*Recipe.__dataclass_fields__, *NAMES, "no_reduce_lr", "no_early_stopping"})
