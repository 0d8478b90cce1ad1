"""Options that say what is done to an image before the network, the same for every command that takes images."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, get_args

import rich_click as click

from weight_transfer.errors import TransferError
from weight_transfer.images import WAYS, Crop, crop_of
from weight_transfer.preprocessing import PRESETS, ChannelOrder, Preprocessing

INPUT_OPTIONS: dict[str, dict[str, Any]] = {
    "--preprocessing": {
        "type": click.Choice(list(PRESETS)),
        "help": "Of RGB in 0..255 before the network, in keras.applications' words.",
    },
    "--scale": {"metavar": "NUMBER", "help": "Or: what RGB in 0..255 is multiplied by, such as 1/255."},
    "--mean": {"metavar": "NUMBERS", "help": "Then taken off: one number, or 0.49,0.48,0.45, one for each channel."},
    "--std": {"metavar": "NUMBERS", "help": "Then divided by, likewise."},
    "--channel-order": {"type": click.Choice(list(get_args(ChannelOrder))), "help": "Of the network's input."},
    "--image-loading": {
        "type": click.Choice(list(WAYS)),
        "help": "How pixels are made of image files: "
        + "; ".join(f"{name} as {way.title}" for name, way in WAYS.items())
        + ".",
    },
    "--crop": {
        "metavar": "HxW",
        "help": "Resize to this, then cut the network's size out of the centre; or 'aspect': cut out the network's "
        "aspect ratio, then resize.",
    },
}
ARITHMETIC = ("preprocessing", "scale", "mean", "std", "channel_order")
NAMES = (*ARITHMETIC, "image_loading", "crop")


def input_options(without: Collection[str] = (), **more: Any) -> tuple[Callable[[Any], Any], ...]:
    """Returns the options as click's decorators.

    Args:
        without: Flags to leave out.
        **more: What goes to each, such as ``panel``.
    """
    return tuple(
        click.option(flag, **arguments, **more) for flag, arguments in INPUT_OPTIONS.items() if flag not in without
    )


def take_input(said: dict[str, Any]) -> dict[str, Any]:
    """Replaces the options in a command's arguments by ``preprocessing``, ``image_loading`` and ``crop``.

    Args:
        said: By name, as click gives them; None is what was not given.

    Raises:
        TransferError: A value is impossible.
    """
    rest = {name: value for name, value in said.items() if name not in NAMES}
    found: dict[str, Preprocessing | str | Crop] = {
        "preprocessing": preprocessing_of({name: said.get(name) for name in ARITHMETIC}),
        "image_loading": said.get("image_loading"),
        "crop": crop_of(said.get("crop")),
    }
    return {**rest, **found}


def preprocessing_of(said: dict[str, Any]) -> Preprocessing | None:
    """Returns what the options say together: a preset, what differs from it or from no preprocessing; or None.

    Raises:
        TransferError: A value is impossible.
    """
    if all(value is None for value in said.values()):
        return None
    if said["preprocessing"] is not None and said["scale"] is not None:
        raise TransferError("--preprocessing and --scale exclude each other: a preset has its own scale. Give one.")
    fields = PRESETS[said["preprocessing"] or "none"].to_dict()
    if said["scale"] is not None:
        fields["divisor"] = _divisor(said["scale"])
    for name in ("mean", "std"):
        if said[name] is not None:
            fields[name] = _numbers(f"--{name}", said[name])
    if said["channel_order"] is not None:
        fields["channel_order"] = said["channel_order"]
    return Preprocessing.from_dict(fields)


def _divisor(text: str) -> float:
    """The number that the inverse of a scale is: 255 for ``1/255``, which is what code divides by."""
    over, _, under = text.partition("/")
    try:
        scale = float(over), float(under or 1)
        found = scale[1] / scale[0]
    except (ValueError, ZeroDivisionError) as error:
        raise TransferError(f"--scale must be a number such as 1/255 or 0.0039. Received: {text!r}") from error
    if not found > 0:
        raise TransferError(f"--scale must be a finite number above 0, such as 1/255 or 0.0039. Received: {text!r}")
    if found > 65536:
        raise TransferError(f"--scale must not be below 1/65536, which leaves nothing of 0..255. Received: {text!r}")
    if found < 1:
        raise TransferError(
            f"--scale multiplies numbers of 0..255, and must not make them larger. Is 1/{text} meant? "
            f"Received: {text!r}"
        )
    return found


def _numbers(flag: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise TransferError(f"{flag} must be a number, or numbers with commas between. Received: {text!r}") from error
