"""The commands, each loaded when it is called: `convert` need not wait for what `verify` imports."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import rich_click as click

from weight_transfer.cli.running import EXIT_CODES, ended_by_signals, run
from weight_transfer.version import __version__

if TYPE_CHECKING:
    from weight_transfer.parity.runner import Runner

EPILOG = f"""{EXIT_CODES}

Completion: eval "$(_WEIGHT_TRANSFER_COMPLETE=bash_source weight-transfer)", or zsh_source, or fish_source.
"""

# By name, the module of each command and what the command is called there; in the order of the help.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "inspect": ("inspecting", "inspect"),
    "convert": ("converting", "convert_command"),
    "verify": ("verifying", "verify_command"),
    "verify-training": ("verifying_training", "verify_training_command"),
    "record": ("recording", "record_command"),
    "check": ("verifying", "check_command"),
    "sensitivity": ("planting", "sensitivity_command"),
    "predict": ("predicting", "predict_command"),
    "demo": ("demo", "demo"),
}


class _Commands(click.RichGroup):
    """A group whose commands are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"weight_transfer.cli.{module}"), name)
        return command


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def app() -> None:
    """Port Keras ResNet checkpoints to PyTorch, and prove that the port computes the same."""


def main(runner: Runner | None = None) -> None:
    """Runs the command line; a `TransferError` is one message on stderr and exit code 2.

    Args:
        runner: What has the commands' requests answered; by default a process for each.
    """
    with ended_by_signals():
        run(app, "weight-transfer", runner)
