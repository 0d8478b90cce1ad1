"""What a family of networks is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import Config

# A title that says depth and widths, and the network as Keras's config.
Candidate = tuple[str, Config]


@dataclass(frozen=True)
class Family:
    """One piece of code that people have built networks with.

    Attributes:
        key: Short name.
        title: What a person calls it.
        source: Where its code was read.
        assumptions: What that code decides and no weights-only file shows, in words.
        candidates: Reads depth and widths off a file's names and shapes, and yields the networks
            that could hold them; whether the arrays fit is checked afterwards.
    """

    key: str
    title: str
    source: str
    assumptions: str
    candidates: Callable[[Arrays], Iterator[Candidate]]
