"""The commands, each imported when it is called: `convert` waits for nothing of `verify`, and `--help` for none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from weight_transfer.cli.running import EXIT_CODES, ended_by_signals, run
from weight_transfer.errors import nearest
from weight_transfer.version import __version__

if TYPE_CHECKING:
    from weight_transfer.cli.training_options import Framework
    from weight_transfer.parity.runner import Runner

EPILOG = f"""{EXIT_CODES}

\b
Completion: eval "$(_WEIGHT_TRANSFER_COMPLETE=bash_source weight-transfer)",
or zsh_source, or fish_source.
"""
HELP = {"help_option_names": ["-h", "--help"]}


class Place(NamedTuple):
    """Where a command is.

    Attributes:
        module: Of `weight_transfer.cli`.
        name: Of the command there; of ``train`` and ``evaluate``, of the function that makes it.
        summary: The first sentence of its help, for the list of commands.
    """

    module: str
    name: str
    summary: str


# In the order of the help.
COMMANDS: Mapping[str, Place] = {
    "inspect": Place("inspect", "inspect", "Show what a checkpoint holds: layers, arrays, optimizer."),
    "convert": Place("convert", "convert_command", "Convert a Keras checkpoint to PyTorch, or a port back."),
    "verify": Place("verify", "verify_command", "Prove a port equal to its checkpoint, or say what differs."),
    "verify-training": Place(
        "verify_training", "verify_training_command", "Compare trainings of both frameworks, step by step."
    ),
    "record": Place("record", "record_command", "Run Keras once, for machines that verify without it."),
    "check": Place("check", "check_command", "Tell whether a port is the one that a certificate speaks of."),
    "sensitivity": Place("sensitivity", "sensitivity_command", "Plant known mistakes, and show which gates see each."),
    "predict": Place("predict", "predict_command", "Classify images by a port."),
    "train": Place("train", "train_command", "Train a ResNet, from scratch or on, in either framework."),
    "evaluate": Place("evaluate", "evaluate_command", "Tell loss and accuracy of a checkpoint on some data."),
    "curves": Place("curves", "curves_command", "Draw the curves of trainings."),
    "summary": Place("summary", "summary_command", "Show what the published ResNets are made of and cost."),
    "demo": Place("demo", "demo", "Make a Keras ResNet, convert it, and prove the port."),
}
OF_A_FRAMEWORK = ("train", "evaluate")


class LazyCommand(click.Command):
    """A command that is imported when its own arguments are looked at, not when commands are listed.

    Args:
        name: What a person types.
        place: Where it is.
        framework: The one that the program is of, where it is of one.
    """

    def __init__(self, name: str, place: Place, framework: Framework | None) -> None:
        super().__init__(name, short_help=place.summary)
        self.place, self.framework = place, framework

    def load(self) -> click.Command:
        """Imports the command itself."""
        found: Any = getattr(importlib.import_module(f"weight_transfer.cli.{self.place.module}"), self.place.name)
        return found(self.framework) if self.name in OF_A_FRAMEWORK else found  # type: ignore[no-any-return]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads the command's arguments, which takes the command itself."""
        return self.load().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it."""
        return ctx.command.invoke(ctx)


class Commands(click.Group):
    """A group of lazy commands.

    Args:
        *arguments: As for `click.Group`.
        places: Of the commands, by name.
        framework: The one that the program is of, where it is of one.
        **more: As for `click.Group`.
    """

    def __init__(
        self,
        *arguments: Any,
        places: Mapping[str, Place] = COMMANDS,
        framework: Framework | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self.places, self.framework = places, framework

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names, in the order of the help."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command that is not imported yet; None where there is none of this name."""
        return LazyCommand(cmd_name, self.places[cmd_name], self.framework) if cmd_name in self.places else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that a person typed; of one that does not exist, the nearest is named."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{nearest(args[0], list(self.places))}", ctx) from error


with_version = click.version_option(__version__, message="%(version)s")


@with_version
@click.group(cls=Commands, epilog=EPILOG, context_settings=HELP)
def app() -> None:
    """Port Keras ResNet checkpoints to PyTorch, and prove that the port computes the same."""


def framework_app(framework: Framework, summary: str, **more: str) -> click.Group:
    """Returns the program of one framework: ``train``, ``evaluate`` and ``curves``.

    Args:
        framework: Which.
        summary: The first line of its help.
        **more: Further commands, as `weight-transfer` calls them, by the names that this program has for them.
    """
    own = {command: command for command in (*OF_A_FRAMEWORK, "curves")} | more
    places = {shown: COMMANDS[command] for shown, command in own.items()}
    return with_version(Commands("app", help=summary, context_settings=HELP, places=places, framework=framework))


def main(runner: Runner | None = None) -> None:
    """Runs ``weight-transfer``.

    Args:
        runner: What has the commands' requests answered; by default a process for each.
    """
    run_program(app, "weight-transfer", runner)


def run_program(program: click.Group, name: str, runner: Runner | None = None) -> None:
    """Runs a command line; a `TransferError` is one message on stderr and exit code 2.

    Args:
        program: Its commands.
        name: What a person typed to start it.
        runner: As for `main`.
    """
    with ended_by_signals():
        run(program, name, runner)
