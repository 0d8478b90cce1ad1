"""The options of ``train`` and ``evaluate``: a field of `Recipe`, its default, and the words for the help; and what
each framework has beside them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import rich_click as click

from weight_transfer.architecture import DEPTHS
from weight_transfer.cli.applicability import Idle, refuse_idle
from weight_transfer.cli.input_options import input_options, take_input
from weight_transfer.data import Part, has_validation
from weight_transfer.data.sources import is_shards
from weight_transfer.errors import TransferError
from weight_transfer.training.recipe import Dtype, Monitor, Recipe
from weight_transfer.training.run_folder import RunFolder

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)}


class Size(click.ParamType[tuple[int, int]]):
    """``128``, or ``97x225``: (H, W)."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Returns (H, W)."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value))
        if match is None:
            self.fail(f"{value!r}: expected a size such as 128, or HxW such as 97x225.", param, ctx)
        return int(match[1]), int(match[2] or match[1])


class Parts(click.ParamType[tuple[str, ...]]):
    """``stem,stage2``: names with commas between them."""

    name = "PARTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the names."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(","))


def _option(panel: str, flag: str, help: str, kind: Any = None, **more: Any) -> Option[Any]:
    """An option whose default is the recipe's; a flag where that is a bool."""
    name = flag.removeprefix("--").replace("-", "_")
    default = _DEFAULTS[name]
    if isinstance(default, bool):
        return click.option(flag, is_flag=True, panel=panel, help=help)
    shown = default not in (None, (), dataclasses.MISSING)
    default = None if default is dataclasses.MISSING else default
    return click.option(
        flag, type=kind or type(default), default=default, show_default=shown, panel=panel, help=help, **more
    )


_WHAT = "Data"
_FROM = "Network"
_HOW = "Training"
_WHEN = "Callbacks"
_OUT = "Output"

_DATA = (
    _option(
        _WHAT,
        "--data",
        "CIFAR-10 archive (python or binary) or its folder, .npz, folder of classes, WebDataset shards "
        "('shards-{000..009}.tar', any fsspec URL); cifar10 downloads it.",
        str,
    ),
    _option(_WHAT, "--size", "Resize images to this; else to 128, or what the checkpoint takes.", Size()),
    *input_options(panel=_WHAT),
    _option(_WHAT, "--images", "Use only the first so many images.", int),
    _option(_WHAT, "--classes", "How many, where the data does not say: shards.", int),
)
_SPLIT = (
    _option(_WHAT, "--split-seed", "Of the split into training and validation images."),
    _option(_WHAT, "--validation-share", "Of the training images, where the data has no validation part."),
)
_TRAINING_DATA = (
    _option(_WHAT, "--augment", "Flip, shift, turn and zoom the training images a little."),
    _option(_WHAT, "--order", "Take the images in the order of this file.", str, metavar="FILE"),
    _option(_WHAT, "--write-order", "Write the order to this file, for the other side.", str, metavar="FILE"),
)
_NETWORK = (
    _option(_FROM, "--depth", "Of the tutorial's ResNet, from scratch.", click.Choice([str(d) for d in DEPTHS])),
    _option(
        _FROM,
        "--checkpoint",
        "Go on from this Keras checkpoint or converted file: its optimizer, rate, schedule and loss, where not said.",
        str,
        metavar="FILE",
    ),
    _option(_FROM, "--initial-weights", "The same, with an optimizer that begins anew.", str, metavar="FILE"),
    _option(_FROM, "--new-head", "Replace the file's head by the tutorial's; a file without one always gets it."),
    _option(_FROM, "--unfreeze", "Let layers learn that do not in the file: trainable=False."),
    _option(_FROM, "--dropout", "Rate in the head; 0 to compare the frameworks step by step.", float),
    _option(_FROM, "--freeze", "Parts that do not learn: stem,stage2,...,head.", Parts()),
    _option(_FROM, "--unfreeze-at", "The epoch from which they do; optimizer and callbacks begin anew.", int),
    _option(_FROM, "--unfreeze-learning-rate", "From that epoch on.", float),
)
_TRAINING = (
    _option(_HOW, "--epochs", "In all."),
    _option(_HOW, "--batch-size", "Images a step, over all devices."),
    _option(_HOW, "--optimizer", "As Keras writes it: 'SGD(momentum=0.9, nesterov=True, clipnorm=1.0)'."),
    _option(_HOW, "--learning-rate", "The first one; with --checkpoint, the file's last."),
    _option(_HOW, "--schedule", "As Keras writes it: 'CosineDecay(decay_steps=1000)'.", str),
    _option(_HOW, "--label-smoothing", "Share of the target spread over all classes."),
    _option(_HOW, "--seed", "Of initial weights, order, augmentation and dropout."),
    _option(_HOW, "--steps", "Of an epoch, at most.", int),
    _option(_HOW, "--dtype", "Of weights and inputs.", click.Choice(get_args(Dtype))),
)
_CALLBACKS = (
    _option(_WHEN, "--monitor", "What the callbacks look at.", click.Choice(get_args(Monitor))),
    _option(_WHEN, "--reduce-lr-factor", "ReduceLROnPlateau's factor."),
    _option(_WHEN, "--reduce-lr-patience", "Its patience, in epochs."),
    _option(_WHEN, "--reduce-lr-min-delta", "What counts as an improvement."),
    _option(_WHEN, "--reduce-lr-cooldown", "Epochs to wait after a reduction."),
    _option(_WHEN, "--reduce-lr-min", "The least learning rate."),
    click.option("--no-reduce-lr", is_flag=True, panel=_WHEN, help="Without it; a --schedule excludes it anyway."),
    _option(_WHEN, "--early-stopping-patience", "EarlyStopping's patience, in epochs."),
    click.option("--no-early-stopping", is_flag=True, panel=_WHEN, help="Without it."),
    _option(_WHEN, "--restore-best-weights", "End with the best epoch's weights."),
)
_OUTPUT = (
    click.option(
        "-o", "--output", panel=_OUT, metavar="FOLDER", help="Run folder to make: history, curves, checkpoints."
    ),
    _option(_OUT, "--log-steps", "Write every step's loss to this CSV file.", str, metavar="FILE"),
)

TRAIN = (*_DATA, *_TRAINING_DATA, *_SPLIT, *_NETWORK, *_TRAINING, *_CALLBACKS, *_OUTPUT)
EVALUATE = (*_DATA, *_SPLIT, _TRAINING[1], _TRAINING[-1])


Framework = Literal["torch", "keras"]
PACKAGES: Mapping[Framework, str] = {"torch": "resnet_torch", "keras": "resnet_keras"}
TITLES: Mapping[Framework, str] = {"torch": "PyTorch", "keras": "Keras"}
_MACHINE = "Machine"
_PYTORCH = "PyTorch"
_FRAMEWORK = click.option(
    "--framework",
    type=click.Choice(list(PACKAGES)),
    panel="Framework",
    help="Which computes; by default that of the run folder, else torch.",
)
_WORKERS = click.option(
    "--workers",
    type=click.IntRange(min=0),
    panel=_MACHINE,
    help="Processes (PyTorch, for each device) or threads (Keras) that make batches.",
)
_DETERMINISTIC = click.option(
    "--deterministic", is_flag=True, panel=_MACHINE, help="Only kernels that give the same bits every time."
)
_ACCELERATOR = click.option(
    "--accelerator", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True, panel=_PYTORCH
)
_TRAIN_IN_PYTORCH = (
    click.option(
        "--precision",
        type=click.Choice(["full", "bf16", "fp16"]),
        default="full",
        show_default=True,
        panel=_PYTORCH,
        help="Of the computations; the weights keep --dtype.",
    ),
    click.option("--accumulate", type=int, default=1, panel=_PYTORCH, help="Compute each batch in so many parts."),
    click.option("--compile", is_flag=True, panel=_PYTORCH, help="Compile the network with torch.compile."),
    click.option("--channels-last", is_flag=True, panel=_PYTORCH, help="Lay images out in memory as Keras does."),
    click.option("--devices", type=int, panel=_PYTORCH, help="Processes on each machine; torchrun says it itself."),
    click.option("--nodes", type=int, panel=_PYTORCH, help="Machines; torchrun says it itself."),
    _ACCELERATOR,
    click.option(
        "--sync-batch-norm/--no-sync-batch-norm",
        default=True,
        show_default=True,
        panel=_PYTORCH,
        help="Batch norm over the batches of all processes.",
    ),
    click.option(
        "--checkpoint-every-steps", type=int, panel=_PYTORCH, help="Also write the last checkpoint within an epoch."
    ),
)
_OF_THE_MACHINE = {"train": (_WORKERS, _DETERMINISTIC), "evaluate": (_WORKERS,)}
_IN_PYTORCH = {"train": _TRAIN_IN_PYTORCH, "evaluate": (_ACCELERATOR,)}


def program_of(framework: Framework | None) -> str:
    """Returns what a person types to start the program of one framework, or of both."""
    return "weight-transfer" if framework is None else f"python -m {PACKAGES[framework]}"


def choice_of_framework(framework: Framework | None) -> tuple[Option[Any], ...]:
    """Returns ``--framework``, for a command that is not of one."""
    return (_FRAMEWORK,) if framework is None else ()


def framework_options(command: Literal["train", "evaluate"], framework: Framework | None) -> tuple[Option[Any], ...]:
    """Returns what a command takes beside the recipe: of one framework, or of both.

    Args:
        command: Which.
        framework: None for both.
    """
    return (*_OF_THE_MACHINE[command], *(() if framework == "keras" else _IN_PYTORCH[command]))


def framework_of(package: str) -> Framework:
    """Returns the framework of a package that trains."""
    return next(framework for framework, name in PACKAGES.items() if name == package)


def of_framework(framework: Framework, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a framework is to be told of its options: those that it has and that have a value.

    Args:
        framework: Which.
        values: By name, as click gives them.

    Raises:
        OptionError: One was given that another framework has.
    """
    of_pytorch = {str(option.name) for option in _parameters(_TRAIN_IN_PYTORCH)}
    refuse_idle(Idle(framework != "torch", of_pytorch, f"it is an option of PyTorch, and {TITLES[framework]} computes"))
    taken = {name: value for name, value in values.items() if framework == "torch" or name not in of_pytorch}
    return {name: value for name, value in taken.items() if value is not None}


def _parameters(options: tuple[Option[Any], ...]) -> list[click.Parameter]:
    return click.command("options")(added(options)(lambda **values: None)).params


def added(options: tuple[Option[Any], ...]) -> Option[Any]:
    """Returns a decorator that adds options to a command, in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def recipe_of(said: dict[str, Any], onto: Recipe | None = None) -> Recipe:
    """Gathers options into a recipe.

    Args:
        said: By name, as click gives them: those that were given, or all.
        onto: The recipe to change; by default the tutorial's.

    Raises:
        TransferError: A value is impossible, or ``data`` or ``output`` is missing.
    """
    values = {name: value for name, value in take_input(said).items() if value is not None or name in said}
    if values.pop("no_reduce_lr", False):
        values["reduce_lr_patience"] = None
    if values.pop("no_early_stopping", False):
        values["early_stopping_patience"] = None
    if "depth" in values:
        values["depth"] = int(values["depth"])
    if onto is not None:
        return dataclasses.replace(onto, **values)
    missing = [f"--{name}" for name in ("data", "output") if not values.get(name)]
    if missing:
        raise TransferError(f"{' and '.join(missing)} must be given. See --help.")
    return Recipe(**values)


_OF_A_SPLIT = ("split_seed", "validation_share")
_OF_THE_PLATEAU = (
    "reduce_lr_factor",
    "reduce_lr_patience",
    "reduce_lr_min_delta",
    "reduce_lr_cooldown",
    "reduce_lr_min",
)


def idle_in_training(recipe: Recipe) -> tuple[Idle, ...]:
    """Returns the cases in which options say nothing of a training."""
    return (
        Idle(recipe.start is not None, ("depth",), f"the network is that of {recipe.start}"),
        Idle(
            recipe.schedule is not None,
            _OF_THE_PLATEAU,
            f"the schedule {recipe.schedule} sets the learning rate, and excludes ReduceLROnPlateau as in Keras",
        ),
        Idle(recipe.reduce_lr_patience is None, _OF_THE_PLATEAU, "--no-reduce-lr leaves ReduceLROnPlateau out"),
        Idle(
            recipe.early_stopping_patience is None,
            ("early_stopping_patience", "restore_best_weights"),
            "--no-early-stopping leaves EarlyStopping out",
        ),
        Idle(
            recipe.unfreeze_at is None,
            ("unfreeze_learning_rate",),
            "nothing is unfrozen on the way",
            "Say from which epoch by --unfreeze-at, or what rate from the first one by --learning-rate.",
        ),
        *_idle_for_the_data(recipe),
    )


def idle_in_resuming(folder: RunFolder, package: str) -> tuple[Idle, ...]:
    """Returns the cases in which options say nothing of a run that goes on."""
    another = "Leave the option out, or begin a new run in another folder: -o, without --resume."
    return (
        Idle(True, ("output",), f"--resume goes on in {folder.path}", another),
        Idle(
            folder.last(package).exists(),
            ("checkpoint", "initial_weights", "new_head", "unfreeze", "depth"),
            f"--resume goes on with the network of {folder.path}",
            another,
        ),
        Idle(
            folder.last(package).exists(),
            ("optimizer", "learning_rate", "schedule"),
            f"--resume goes on with the optimizer of {folder.path}, as its last epoch left it",
            another,
        ),
    )


def idle_in_evaluating(recipe: Recipe, part: Part | None) -> tuple[Idle, ...]:
    """Returns the cases in which options say nothing of an evaluation."""
    return Idle(part == "test", _OF_A_SPLIT, "test images are not split"), *_idle_for_the_data(recipe)


def _idle_for_the_data(recipe: Recipe) -> tuple[Idle, ...]:
    data, split = recipe.data, RunFolder(Path(recipe.output)).split
    return (
        Idle(has_validation(data), _OF_A_SPLIT, f"{data} has a validation part of its own"),
        Idle(split.exists(), _OF_A_SPLIT, f"the run keeps its split in {split}"),
        Idle(Path(data).exists() and not is_shards(data), ("classes",), f"{data} says itself which classes it has"),
    )
