"""``evaluate``: loss and accuracy of a checkpoint on a part of some data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import rich_click as click

from weight_transfer.cli import training_options as options
from weight_transfer.cli.applicability import given_options, refuse_idle
from weight_transfer.cli.options import as_json
from weight_transfer.cli.terminal import print_json, progress
from weight_transfer.cli.train import side_of, split_options
from weight_transfer.cli.training_options import Framework, framework_of, of_framework
from weight_transfer.cli.training_reporter import print_evaluation
from weight_transfer.data import PARTS, Part
from weight_transfer.progress import stage
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.run_folder import CHECKPOINTS, RunFolder, is_first_process


def evaluate_command(only: Framework | None = None) -> click.Command:
    """Makes the command; the framework is imported when it runs, not before.

    Args:
        only: The framework of a program that is of one.
    """
    program = options.program_of(only)
    example = f"{program} evaluate runs/first"
    other = f"{program} evaluate resnet50.h5 --data cifar-10-python.tar.gz"

    @click.command("evaluate", epilog=f"Examples: {example}\n\n{other}")
    @click.argument("model", type=click.Path(path_type=Path))
    @options.added((*options.choice_of_framework(only), *options.EVALUATE))
    @click.option(
        "--part", type=click.Choice(PARTS), help="Which images; by default test, or validation where there is no test."
    )
    @options.added(options.framework_options("evaluate", only))
    @as_json
    def evaluate(model: Path, part: Part | None, json: bool, framework: Framework | None = only, **values: Any) -> None:
        """Evaluate MODEL: a run folder's best checkpoint, a Keras checkpoint or a converted file.

        Images are preprocessed and loaded as MODEL says; where it does not, as options say or as is guessed.
        """
        shared, others = split_options(values)
        recipe, checkpoint, of_the_run = _to_evaluate(model, shared)
        side = framework or of_the_run or "torch"
        own = of_framework(side, others)
        refuse_idle(*options.idle_in_evaluating(recipe, part))
        with progress(quiet=json or not is_first_process()) as show:
            found = side_of(side).evaluate(recipe, checkpoint, part=part, on_progress=stage(show, "evaluating"), **own)
        if is_first_process():
            print_json(found.to_dict()) if json else print_evaluation(found)

    return cast(click.Command, evaluate)


def _to_evaluate(model: Path, shared: dict[str, Any]) -> tuple[Recipe, Path, Framework | None]:
    """The recipe, the checkpoint, and the framework of its run where it is of one."""
    folder = RunFolder(model if model.is_dir() else model.parent)
    is_of_a_run = model.name in {name for names in CHECKPOINTS.values() for name in names} and folder.recipe.exists()
    if not model.is_dir() and not is_of_a_run:
        return options.recipe_of({**shared, "output": str(model.parent)}), model, None
    recipe, package, _ = folder.read()
    given = {name: value for name, value in shared.items() if name in given_options()}
    recipe = dataclasses.replace(options.recipe_of(given, onto=recipe), output=str(folder.path))
    return recipe, folder.found_best() if model.is_dir() else model, framework_of(package)
