"""What a person says of a file, held against what was found in it: a hint that the network does not have is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

from weight_transfer.conversion.hints import Hints
from weight_transfer.errors import OptionError, listing
from weight_transfer.graph import Graph


def refuse_said_of_converted(path: str | os.PathLike[str], **said: object) -> None:
    """Refuses what a caller says of a converted file, which says itself what it holds.

    Args:
        path: The converted file.
        **said: Arguments that are about a Keras checkpoint, as they were given.

    Raises:
        OptionError: One of them says something.
    """
    given = [name for name, value in said.items() if value not in (None, Hints())]
    if given:
        raise OptionError(
            f"{path} is a converted file, which says itself what it holds: {' and '.join(given)} would be ignored. "
            "Leave out what is about a Keras checkpoint, or convert that again with it."
        )


def check_heeded(place: str, hints: Hints, network: Graph, *, has_own_model: bool, has_model: bool) -> None:
    """Refuses hints that say nothing of a network, or another thing than its file.

    Args:
        place: The file's name.
        hints: What a person says.
        network: What was found with them.
        has_own_model: Whether the file carries its model's description.
        has_model: Whether it does, or one was named beside it.

    Raises:
        OptionError: There are such hints; the message lists them.
    """
    problems = [
        *_of_the_model(hints, has_own_model, has_model),
        *_of_the_resnet(hints, network),
        *_of_the_images(hints, network),
    ]
    if problems:
        raise OptionError(
            f"{place}: options that do not apply to it:{listing(problems)}\nLeave them out: what the file shows holds."
        )


def _of_the_model(hints: Hints, has_own_model: bool, has_model: bool) -> Iterator[str]:
    if has_own_model:
        for flag, path in (("--config", hints.config), ("--like", hints.like)):
            if path is not None:
                yield f"{flag} {path}: the file carries the description of its model itself"
    if has_model and hints.family is not None:
        yield f"--family {hints.family}: the model's description says what it is"


def _of_the_resnet(hints: Hints, network: Graph) -> Iterator[str]:
    backbone = network.architecture
    graph = "the network is its own graph, which says it"
    if backbone is None:
        said = {"dialect": hints.dialect, "depth": hints.depth, **hints.conventions}
        yield from (f"{_flag(name)} {value}: {graph}" for name, value in said.items() if value is not None)
    else:
        for name, value in hints.conventions.items():
            held = getattr(backbone.conventions, name)
            if held != value:
                yield f"{_flag(name)} {value}: its model has {held}"
    if hints.in_shape is not None:
        shape = None if backbone is None else backbone.in_shape[:2]
        if shape != hints.in_shape:
            yield f"--input-size {_size(hints.in_shape)}: {graph if shape is None else f'its model has {_size(shape)}'}"
    if hints.pooling is not None:
        pooling = None if network.resnet is None else network.resnet.head.pooling
        if pooling != hints.pooling:
            yield f"--pooling {hints.pooling}: its model has {pooling or 'a head of its own, or none'}"


def _of_the_images(hints: Hints, network: Graph) -> Iterator[str]:
    shapes = list(network.inputs.values())
    if len(shapes) == 1 and len(shapes[0]) == 3:
        return
    for flag, said in (
        ("--preprocessing, --scale, --mean, --std, --channel-order", hints.preprocessing),
        ("--image-loading", hints.image_loading),
        ("--crop", hints.crop),
    ):
        if said is not None:
            yield f"{flag}: the network does not take one image"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _size(shape: tuple[int | None, ...]) -> str:
    return "x".join("any" if size is None else str(size) for size in shape)
