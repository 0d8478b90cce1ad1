"""The commands."""

from __future__ import annotations

import rich_click as click

from weight_transfer.cli.converting import convert_command
from weight_transfer.cli.demo import demo
from weight_transfer.cli.inspecting import inspect
from weight_transfer.cli.planting import sensitivity_command
from weight_transfer.cli.predicting import predict_command
from weight_transfer.cli.recording import record_command
from weight_transfer.cli.running import run
from weight_transfer.cli.verifying import check_command, verify_command
from weight_transfer.cli.verifying_training import verify_training_command
from weight_transfer.version import __version__

EPILOG = """Exit codes: 0 done or equal, 1 differs, 2 bad input.

Completion: eval "$(_WEIGHT_TRANSFER_COMPLETE=bash_source weight-transfer)", or zsh_source, or fish_source.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def app() -> None:
    """Port Keras ResNet checkpoints to PyTorch, and prove that the port computes the same."""


for command in (
    inspect,
    convert_command,
    verify_command,
    verify_training_command,
    record_command,
    check_command,
    sensitivity_command,
    predict_command,
    demo,
):
    app.add_command(command)


def main() -> None:
    """Runs the command line; a `TransferError` is one message on stderr and exit code 2."""
    run(app, "weight-transfer")
