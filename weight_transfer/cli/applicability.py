"""Options that say nothing in the case at hand: each command declares when which do, and here they are refused."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from click import Option, get_current_context
from click.core import ParameterSource

from weight_transfer.errors import OptionError


class Idle(NamedTuple):
    """A case in which options of a command would be ignored.

    Attributes:
        holds: Whether it is the case at hand.
        options: Names of the command's parameters that say nothing then.
        why: What makes them so.
        advice: What to do instead.
    """

    holds: bool
    options: Collection[str]
    why: str
    advice: str = "Leave the option out."


def of_a_converted_file(holds: bool, file: Path, options: Collection[str]) -> Idle:
    """Returns the case that a converted file is named, which says itself what options say of a Keras checkpoint."""
    return Idle(
        holds,
        options,
        f"{file} is a converted file, which says itself what its network is",
        "Leave the option out; or, if the file is wrong, convert the Keras checkpoint again with it: "
        "weight-transfer convert",
    )


def beside_a_recording(reference: Path | None) -> Idle:
    """Returns the case that a recording is named, whose inputs are what Keras was shown."""
    return Idle(
        reference is not None,
        ("photographs", "image_loading"),
        f"the recording {reference} holds the images that Keras was shown",
        "Leave the option out, or record again with it: weight-transfer record",
    )


def given_options() -> dict[str, str]:
    """Returns the options that a person gave to the command that runs: its flags by the names of its parameters."""
    context = get_current_context()
    return {
        str(parameter.name): max(parameter.opts, key=len)
        for parameter in context.command.params
        if isinstance(parameter, Option)
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    }


def refuse_idle(*cases: Idle) -> None:
    """Refuses options that were given and would be ignored.

    Args:
        *cases: In which options of the command that runs say nothing.

    Raises:
        OptionError: One of them is the case at hand, and such an option was given.
    """
    given = given_options()
    for case in cases:
        idle = [flag for name, flag in given.items() if name in case.options]
        if case.holds and idle:
            verb = "does not apply" if len(idle) == 1 else "do not apply"
            raise OptionError(f"{', '.join(idle)} {verb}: {case.why}. {case.advice}")
