"""The commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from weight_transfer.cli.converting import convert_command
from weight_transfer.cli.demo import demo
from weight_transfer.cli.inspecting import inspect
from weight_transfer.cli.verifying import verify_command
from weight_transfer.errors import TransferError
from weight_transfer.version import __version__

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    name="weight-transfer",
    help="Port Keras ResNet checkpoints to PyTorch, and prove that the port computes the same.",
    epilog="Exit codes: 0 done or equal, 1 differs, 2 bad input.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _command(name: str, function: Any, *examples: str) -> None:
    lines = "\n\n".join(f"$ weight-transfer {example}" for example in examples)
    app.command(name, epilog=f"Example:\n\n{lines}")(function)


_command("inspect", inspect, "inspect resnet50.h5")
_command(
    "convert",
    convert_command,
    "convert resnet50.h5 -o resnet50.safetensors",
    "convert resnet50.safetensors -o back.keras",
)
_command("verify", verify_command, "verify resnet50.h5 resnet50.safetensors")
_command("demo", demo, "demo --folder demo")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Runs the command line; a `TransferError` is one message on stderr and exit code 2."""
    try:
        app()
    except TransferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
