"""Networks of ResNet-18 to -152's plan, which several libraries build each in its own way: read off a file's names.

A file that only counts its layers has no names to read; it can be one of the published depths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from weight_transfer.architecture import DEPTHS, BlockKind
from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import Config
from weight_transfer.families.family import Candidate

FILTERS = (64, 128, 256, 512)  # He et al. 2015, table 1
STEM_FILTERS = 64
EXPANSION = 4  # of a bottleneck

Conv = tuple[int, int, int]  # filters, kernel size, strides


@dataclass(frozen=True)
class Staged:
    """Depth and widths of a network.

    Attributes:
        block: Basic or bottleneck.
        block_counts: By stage.
        filters: By stage, of a block's first convolution.
        stem_filters: Of the 7x7.
        in_channels: Of the image.
        classes: Of the classifier; None without one.
    """

    block: BlockKind
    block_counts: tuple[int, ...]
    filters: tuple[int, ...]
    stem_filters: int
    in_channels: int
    classes: int | None

    @property
    def depth(self) -> int | None:
        """The published depth that it is; None for another."""
        if (self.stem_filters, self.filters) != (STEM_FILTERS, FILTERS):
            return None
        return next((depth for depth, row in DEPTHS.items() if row == (self.block, self.block_counts)), None)

    def describe(self, title: str) -> str:
        """Returns depth, blocks and widths in words."""
        blocks, widths = (", ".join(map(str, numbers)) for numbers in (self.block_counts, self.filters))
        top = f"{self.classes} classes" if self.classes else "no top"
        return f"{title.format(depth=self.depth or '')}: {self.block} blocks {blocks}; widths {widths}; {top}"

    def blocks(self) -> Iterator[tuple[int, int, tuple[Conv, ...]]]:
        """Yields stage and block, from 0, and the block's convolutions; a stage strides at its start."""
        for stage, (count, filters) in enumerate(zip(self.block_counts, self.filters, strict=True)):
            for block in range(count):
                yield stage, block, self.convs(filters, 2 if stage > 0 and block == 0 else 1)

    def convs(self, filters: int, strides: int) -> tuple[Conv, ...]:
        """Returns a block's convolutions; the first 3x3 strides."""
        if self.block == "basic":
            return (filters, 3, strides), (filters, 3, 1)
        return (filters, 1, 1), (filters, 3, strides), (EXPANSION * filters, 1, 1)


def projection(convs: Sequence[Conv]) -> Conv:
    """Returns the 1x1 on the shortcut of a block: as wide as its last convolution, and as far apart as all of them."""
    return convs[-1][0], 1, max(strides for _, _, strides in convs)


@dataclass(frozen=True)
class StagedNames:
    """How a library names its convolutions.

    Attributes:
        stem: The 7x7.
        conv: Of a block, with ``{stage}``, ``{block}`` and ``{branch}``, the latter from 1.
        first_stage: Number of the first stage.
        first_block: Number of a stage's first block.
        classifier: The last Dense.
        blocks: The blocks that the library has.
        plain_starts: Those of them whose first stage has no projection.
    """

    stem: str
    conv: str
    first_stage: int
    first_block: int
    classifier: str
    blocks: tuple[BlockKind, ...] = ("basic", "bottleneck")
    plain_starts: tuple[BlockKind, ...] = ()


def staged_candidates(
    names: StagedNames, title: str, write: Callable[[Staged], Config]
) -> Callable[[Arrays], Iterator[Candidate]]:
    """Returns the `Family.candidates` of a library.

    Args:
        names: The library's.
        title: Of a network, with ``{depth}``.
        write: Writes the whole network.
    """

    def candidates(arrays: Arrays) -> Iterator[Candidate]:
        for network in staged_networks(arrays, names):
            yield network.describe(title), write(network)

    return candidates


def staged_networks(arrays: Arrays, names: StagedNames) -> Iterator[Staged]:
    """Yields the networks whose names or counts the file has."""
    yield from _counted(arrays, names) if arrays.counted else _named(arrays, names)


def _named(arrays: Arrays, names: StagedNames) -> Iterator[Staged]:
    stem, top = arrays.shape(names.stem), arrays.shape(names.classifier)
    counts: list[int] = []
    filters: list[int] = []
    for stage in itertools.count(names.first_stage):
        first = arrays.shape(names.conv.format(stage=stage, block=names.first_block, branch=1))
        if first is None:
            break
        counts.append(_num_blocks(arrays, names, stage))
        filters.append(first[-1])
    if stem is None or len(stem) != 4 or not counts:
        return
    third = names.conv.format(stage=names.first_stage, block=names.first_block, branch=3)
    block: BlockKind = "bottleneck" if third in arrays.layers else "basic"
    if block in names.blocks:
        yield Staged(block, tuple(counts), tuple(filters), stem[-1], stem[-2], None if top is None else top[-1])


def _num_blocks(arrays: Arrays, names: StagedNames, stage: int) -> int:
    blocks = itertools.count(names.first_block)
    present = (names.conv.format(stage=stage, block=block, branch=1) in arrays.layers for block in blocks)
    return sum(1 for _ in itertools.takewhile(bool, present))


def _counted(arrays: Arrays, names: StagedNames) -> Iterator[Staged]:
    stem, top = arrays.shape("conv2d"), arrays.shape("dense")
    if stem is None or len(stem) != 4:
        return
    for block, counts in DEPTHS.values():
        if block not in names.blocks:
            continue
        num_projections = len(counts) - (block in names.plain_starts)
        num_convs = 1 + (2 if block == "basic" else 3) * sum(counts) + num_projections
        if len(arrays.of_class("Conv2D")) == num_convs:
            yield Staged(block, counts, FILTERS, stem[-1], stem[-2], None if top is None else top[-1])
