"""The ResNets that a checkpoint could hold: every dialect's names, in each spelling, laid on its arrays."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weight_transfer.architecture import Architecture, Head, Names
from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.conversion.accounting import Accounting
from weight_transfer.conversion.counters import by_counters, counted_blocks
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.observing import observe
from weight_transfer.dialects import DIALECTS, TUTORIAL, Dialect, design
from weight_transfer.errors import MappingError
from weight_transfer.layer_graph import LayerGraph


@dataclass(frozen=True)
class Candidate:
    """One dialect's reading of a file.

    Attributes:
        dialect: Whose names.
        architecture: What they and the shapes show.
        accounting: The file's arrays against it.
    """

    dialect: Dialect
    architecture: Architecture
    accounting: Accounting


def candidates_of(checkpoint: Checkpoint, hints: Hints, graph: LayerGraph | None) -> Iterator[Candidate]:
    """Yields every dialect's reading of a file, exact or not.

    Args:
        checkpoint: The file.
        hints: What the person knows.
        graph: Of the file's model, where it is known.

    Raises:
        MappingError: Two nested models hold a layer of the same name.
    """
    dialects = [DIALECTS[hints.dialect]] if hints.dialect else list(DIALECTS.values())
    for dialect in dialects:
        for spelling in dialect.spellings:
            names = dataclasses.replace(dialect.names, **spelling)  # type: ignore[arg-type]
            for ordered, arrays in _named(checkpoint, dialect, names):
                architecture = observe(arrays, dialect, ordered, hints, graph)
                if architecture is not None:
                    yield Candidate(dialect, architecture, Accounting.of(arrays, architecture))


def _named(checkpoint: Checkpoint, dialect: Dialect, names: Names) -> Iterator[tuple[Names, Mapping[str, Array]]]:
    """The arrays by ``layer/role``; a file that only counts its layers gets the dialect's names.

    In which order somebody adds a block's two branches, on which the counting depends, is no mark of a dialect.
    """
    arrays = without_nesting(checkpoint)
    if not checkpoint.names_are_counters:
        yield names, arrays
        return
    blocks = counted_blocks(arrays)
    if blocks is None:
        return
    hidden = 1 if names.classifier == TUTORIAL.names.classifier else None
    heads = (Head(hidden_units=hidden, classes=1), Head(pooling=None, classes=None))
    for head, first in itertools.product(heads, (names.shortcut_first, not names.shortcut_first)):
        template = design(dialect=dialect, block=blocks[0], block_counts=blocks[1], head=head)
        ordered = dataclasses.replace(names, shortcut_first=first)
        numbered = dataclasses.replace(ordered, numbered_stages=template.names.numbered_stages)
        renamed = by_counters(arrays, dataclasses.replace(template, names=numbered))
        if renamed is not None:
            yield ordered, renamed


def without_nesting(checkpoint: Checkpoint) -> Mapping[str, Array]:
    """Returns the arrays by layer name and role, without the names of nested models.

    Raises:
        MappingError: Two nested models hold a layer of the same name.
    """
    arrays: dict[str, Array] = {}
    for name, array in checkpoint.arrays.items():
        short = "/".join(name.split("/")[-2:])
        if short in arrays:
            raise MappingError(
                f"{checkpoint.path.name}: {arrays[short].name!r} and {name!r} are the same layer of two nested "
                "models. Expected one ResNet in the file."
            )
        arrays[short] = array
    return arrays
