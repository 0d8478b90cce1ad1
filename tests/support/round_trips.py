"""From a Keras file to the port and back, many files at a time: what the tests of round trips share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_round_trips
from keras_round_trips import Judged

from weight_transfer import Hints, TransferError, convert, export

WAYS = tuple((source, ending) for source in keras_round_trips.ENDINGS for ending in keras_round_trips.ENDINGS)


@dataclass(frozen=True)
class Trip:
    """One way of one network.

    Attributes:
        name: Of the network.
        way: The endings of the file that was converted and of the one that came back.
        source: The file that was converted.
        owned: The owner's files, the one first that the result is held against.
        port: What it was converted to.
        back: The file that came back; None where it was refused.
        refusal: Why.
    """

    name: str
    way: tuple[str, str]
    source: Path
    owned: tuple[Path, ...]
    port: Path
    back: Path | None
    refusal: TransferError | None = None


def trips(
    files: Mapping[str, Sequence[Path]],
    ways: Callable[[int], Sequence[tuple[str, str]]],
    folder: Path,
    hints: Hints | None = None,
    owner: Callable[[str, tuple[str, str]], str | None] = lambda name, way: None,
    **options: Any,
) -> list[Trip]:
    """Carries networks to the port and back.

    Args:
        files: The owner's files of each network, one of a container.
        ways: Of the network of a number, the ways to go; where its Keras cannot write a container, from the other one.
        folder: For the files between.
        hints: For the conversion.
        owner: By network and way the container whose file the result is held against, where that is not the one that
            was converted: Keras loads not all that it writes.
        **options: Of both conversions: ``with_optimizer``.
    """
    folder.mkdir(exist_ok=True)
    found = []
    for number, (name, paths) in enumerate(files.items()):
        by_ending = {path.suffix: path for path in paths}
        for wanted, ending in ways(number):
            source = by_ending.get(wanted, paths[0])
            way = source.suffix, ending
            first = by_ending[owner(name, way) or source.suffix]
            owned = (first, *(path for path in paths if path != first))
            port = folder / f"{number}-{source.suffix[1:]}-{ending[1:]}.safetensors"
            try:
                convert(source, port, hints, **options)
                back = export(port, port.with_suffix(f".back{ending}"), **options)
            except TransferError as error:
                found.append(Trip(name, way, source, owned, port, None, error))
            else:
                found.append(Trip(name, way, source, owned, port, back))
    return found


def judge(keras_side: Any, library: str, done: Sequence[Trip], **options: Any) -> Iterator[tuple[Trip, Judged]]:
    """What the Keras that wrote the files finds in those that came back; see `keras_round_trips.judged`."""
    came = [trip for trip in done if trip.back is not None]
    pairs = [(trip.owned, trip.back) for trip in came]
    return zip(came, keras_side(keras_round_trips.judged, library, pairs, **options), strict=True)
