"""The commands of a program, imported."""

from __future__ import annotations

import rich_click as click

from weight_transfer.cli.app import LazyCommand


def commands(program: click.Group) -> dict[str, click.Command]:
    """Returns them by name."""
    context = click.Context(program)
    found = {name: program.get_command(context, name) for name in program.list_commands(context)}
    return {name: command.load() for name, command in found.items() if isinstance(command, LazyCommand)}
