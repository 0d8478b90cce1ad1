"""The one place where errors become words and exit codes."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click

from weight_transfer.errors import TransferError
from weight_transfer.isolation import protect_children

PROVEN = 0
DIFFERS = 1
BAD_INPUT = 2
NOT_PROVEN = 3
EXIT_CODES = "Exit codes: 0 done or proven, 1 differs, 2 bad input, 3 not proven."


def run(app: click.Group, name: str, obj: Any = None) -> None:
    """Runs a command line; a `TransferError` is one message on stderr and exit code 2.

    Args:
        app: The commands.
        name: What a person typed to start it.
        obj: Of the commands' context.
    """
    protect_children()
    try:
        app(prog_name=name, obj=obj)
    except TransferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
