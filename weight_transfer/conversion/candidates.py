"""The ResNets that a checkpoint could hold: every dialect's names, in each spelling, laid on its arrays."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weight_transfer.architecture import Architecture, BlockKind, Head, Names
from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.conversion.array_accounts import Accounting
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.observed_architecture import observe
from weight_transfer.errors import MappingError
from weight_transfer.graph import Graph, keras_order
from weight_transfer.resnet.dialects import DIALECTS, TUTORIAL, Dialect, design
from weight_transfer.resnet.recipe import resnet_graph


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


def candidates_of(checkpoint: Checkpoint, hints: Hints, graph: Graph | None) -> Iterator[Candidate]:
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
                    yield Candidate(dialect, architecture, Accounting.of(arrays, resnet_graph(architecture)))


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


def counter_names(architecture: Architecture) -> dict[str, str]:
    """Returns the layer name behind each counter name, in the order in which Keras counts."""
    seen: dict[str, int] = {}
    names: dict[str, str] = {}
    for layer in keras_order(resnet_graph(architecture)):
        if not layer.weights:
            continue
        kind = snake_case(layer.class_name)
        count = seen.get(kind, 0)
        names[kind if count == 0 else f"{kind}_{count}"] = layer.path
        seen[kind] = count + 1
    return names


def counted_blocks(arrays: Mapping[str, Array]) -> tuple[BlockKind, tuple[int, ...]] | None:
    """Reads the block kind and the block counts off the convolutions' shapes, in counting order.

    A block that changes the number of channels has a projection, which Keras counts beside the
    block's last convolution; so does the first block of all.

    Returns:
        None where the shapes are not those of residual blocks.
    """
    kernels = [arrays[name].shape for name in _counted("conv2d", arrays)]
    if len(kernels) < 4 or any(len(shape) != 4 for shape in kernels):
        return None
    kind: BlockKind = "bottleneck" if kernels[1][:2] == (1, 1) else "basic"
    length = 3 if kind == "bottleneck" else 2
    counts: list[int] = []
    position, channels = 1, kernels[0][-1]
    while position + length <= len(kernels):
        ends = kernels[position + length - 1 : position + length + 1]
        out = ends[0][-1]
        if out != channels or not counts:
            if (1, 1, channels, out) not in ends or ends[-1][-1] != out:
                return None
            counts.append(1)
            position += length + 1
        else:
            counts[-1] += 1
            position += length
        channels = out
    return (kind, tuple(counts)) if position == len(kernels) else None


def _counted(kind: str, arrays: Mapping[str, Array]) -> list[str]:
    """Names of the kernels of a class, in counting order."""
    names = [kind, *(f"{kind}_{number}" for number in range(1, len(arrays)))]
    return [f"{name}/kernel" for name in names if f"{name}/kernel" in arrays]


def by_counters(arrays: Mapping[str, Array], architecture: Architecture) -> Mapping[str, Array] | None:
    """Returns the arrays under the architecture's layer names, or None if the counts differ."""
    names = counter_names(architecture)
    counters = {name.rpartition("/")[0] for name in arrays}
    if counters != set(names):
        return None
    renamed = {}
    for name, array in arrays.items():
        counter, _, role = name.rpartition("/")
        renamed[f"{names[counter]}/{role}"] = array
    return renamed
