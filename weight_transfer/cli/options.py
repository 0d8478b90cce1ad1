"""Options that several commands share: what a person says of a checkpoint that its file may not show."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import rich_click as click

from weight_transfer.cli.input_options import input_options, take_input
from weight_transfer.conversion.hints import Hints, ImportAs, PairBy
from weight_transfer.errors import ArchitectureError
from weight_transfer.families import FAMILIES
from weight_transfer.parity.inputs import MOST_PHOTOGRAPHS
from weight_transfer.resnet.dialects import DIALECTS

if TYPE_CHECKING:
    from weight_transfer.parity.protocol import Request, Result
    from weight_transfer.parity.runner import Runner
    from weight_transfer.progress import OnProgress

Command = TypeVar("Command", bound=Callable[..., Any])

PathOf = click.Path(path_type=Path)


def with_runner(command: Command) -> Command:
    """Hands a command, as ``runner``, what has its requests answered: the context's object, or a process for each."""

    @functools.wraps(command)
    def call(runner: Runner | None, *arguments: Any, **named: Any) -> Any:
        return command(*arguments, runner=runner or _in_process, **named)

    return cast(Command, click.pass_obj(call))


def _in_process(request: Request[Result], on_progress: OnProgress = lambda share: None, /) -> Result:
    from weight_transfer.parity.runner import run_in_process  # 0.1 s, which a command without requests need not wait

    return run_in_process(request, on_progress)


checkpoint_file = click.argument("file", type=PathOf)
photographs = click.option(
    "--photographs",
    type=click.IntRange(0, MOST_PHOTOGRAPHS),
    default=0,
    help="Show both so many further photographs, in one batch.",
)
as_json = click.option("--json", "json", is_flag=True, help="Print one JSON object instead of tables.")
optimizer = click.option(
    "--optimizer",
    metavar="TEXT",
    help="What the file does not say of its optimizer: 'Adam(learning_rate=1e-4, beta_2=0.99)'.",
)

# What decides an architecture beyond names and shapes, in the order of the help.
_ABOUT_THE_FILE = (
    click.option(
        "--as",
        "import_as",
        type=click.Choice(["native", "graph"]),
        help="As a resnet_torch.ResNet, or as the file's own layer graph; by default the first that is possible.",
    ),
    click.option(
        "--dialect",
        type=click.Choice(list(DIALECTS)),
        metavar="NAME",
        help=f"Whose names and conventions: {', '.join(DIALECTS)}.",
    ),
    click.option("--depth", type=int, help="The whole network's depth: 18, 34, 50, 101 or 152."),
    click.option("--input-size", metavar="HxW", help="Size of an input image, such as 224x224."),
    click.option(
        "--pooling", type=click.Choice(["avg", "max"]), help="Global pooling of a network without a classifier."
    ),
    click.option(
        "--family", type=click.Choice(list(FAMILIES)), metavar="NAME", help="Of a weights-only file that fits several."
    ),
    click.option(
        "--config", type=PathOf, help="JSON of the model of a weights-only file: model.to_json() or get_config()."
    ),
    click.option("--like", type=PathOf, help="A full-model file of the same model as a weights-only file."),
    click.option(
        "--pair-by",
        type=click.Choice(["order", "name"]),
        help="Which array is which layer's of --config or --like: by order, as Keras's load_weights does, or by name.",
    ),
)
_CONVENTIONS = (
    click.option("--epsilon", type=float, help="Added to every batch norm's variance."),
    click.option("--stride-in", type=click.Choice(["1x1", "3x3"]), help="Which convolution of a bottleneck strides."),
    click.option("--stem-padding", type=click.Choice(["zeros", "same"]), help="Around the 7x7."),
    click.option("--pool-padding", type=click.Choice(["zeros", "same", "none"]), help="Around the stem's max pool."),
)


def about_the_file(command: Command) -> Command:
    """Adds the options that say what a checkpoint's file may not show; the command receives ``**said``."""
    return _added(command, *_ABOUT_THE_FILE, *_CONVENTIONS, *input_options())


def about_the_file_without(*flags: str) -> Callable[[Command], Command]:
    """Returns the same decorator, but for options on images that a command has no use for."""
    return lambda command: _added(command, *_ABOUT_THE_FILE, *_CONVENTIONS, *input_options(without=flags))


def _added(command: Command, *options: Callable[[Any], Any]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


# Names of the parameters that `about_the_file` adds.
ABOUT_THE_FILE = tuple(
    str(option.name) for option in click.command("about")(about_the_file(lambda **said: None)).params
)


def hints_of(
    *,
    import_as: ImportAs | None,
    dialect: str | None,
    depth: int | None,
    input_size: str | None,
    pooling: str | None,
    family: str | None,
    config: Path | None,
    like: Path | None,
    pair_by: PairBy | None,
    **others: object,
) -> Hints:
    """Gathers the options that were given.

    Raises:
        ArchitectureError: A value is impossible, or a TransferError says so of what is done to images.
    """
    said = take_input(others)
    return Hints(
        dialect=dialect,
        depth=depth,
        in_shape=None if input_size is None else image_size(input_size),
        pooling=pooling,
        import_as=import_as,
        family=family,
        config=config,
        like=like,
        pair_by=pair_by,
        preprocessing=said.pop("preprocessing"),
        image_loading=said.pop("image_loading"),
        crop=said.pop("crop"),
        conventions={name: value for name, value in said.items() if value is not None},
    )


def image_size(text: str) -> tuple[int, int]:
    """Reads (H, W) of ``224x224``.

    Raises:
        ArchitectureError: It reads otherwise.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise ArchitectureError(f"--input-size must be HxW, such as 224x224. Received: {text!r}")
    return int(match[1]), int(match[2])
