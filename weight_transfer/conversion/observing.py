"""The architecture that names and shapes show, read in one dialect's spelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from weight_transfer.architecture import DEPTHS, FIRST_STAGE, Architecture, BlockKind, Head, Names, standard_filters
from weight_transfer.checkpoint import Array
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.structure import observed_conventions
from weight_transfer.dialects import TUTORIAL, Dialect
from weight_transfer.model_config import ModelGraph

MAX_STAGES, MAX_BLOCKS = 8, 64


def observe(
    arrays: Mapping[str, Array], dialect: Dialect, names: Names, hints: Hints, graph: ModelGraph | None
) -> Architecture | None:
    """Returns the architecture that the names and shapes show, None where nothing of it is there.

    Args:
        arrays: By ``layer/role``, the names of nested models left out.
        dialect: What decides where the file shows nothing.
        names: The dialect's, in one of its spellings.
        hints: What the person knows.
        graph: Of the file's model, where it is known.
    """
    present = {name.rpartition("/")[0] for name in arrays}
    if names.stem_conv not in present:
        return None
    block = _block_kind(present, names)
    counts, numbered = _block_counts(present, names)
    if hints.depth is not None:  # a stage of which nothing is there is named as the dialect names it
        absent = FIRST_STAGE + len(counts)
        numbered += tuple(stage for stage in dialect.numbered.get(hints.depth, ()) if stage >= absent)
        block, counts = DEPTHS[hints.depth]
    if not counts:
        return None
    names = dataclasses.replace(names, numbered_stages=numbered)
    conventions = dict(hints.conventions)
    if graph is not None or hints.dialect is not None:
        conventions.setdefault("conv_bias", f"{names.stem_conv}/bias" in arrays)
    stem_kernel = arrays.get(f"{names.stem_conv}/kernel")
    channels, stem_filters = (3, 64) if stem_kernel is None or len(stem_kernel.shape) != 4 else stem_kernel.shape[2:]
    height, width = hints.in_shape or (224, 224)
    architecture = Architecture(
        block=block,
        block_counts=counts,
        filters=_filters(arrays, names, block, counts),
        stem_filters=stem_filters,
        middle_kernel_size=_middle_kernel_size(arrays, names, block),
        in_shape=(height, width, channels),
        head=_head(arrays, dialect, names, hints),
        conventions=dataclasses.replace(dialect.conventions, **conventions),
        names=names,
        dialect=dialect.key,
    )
    if graph is not None:
        architecture = observed_conventions(graph, architecture)
    return architecture


def _conv_name(names: Names, stage: int, label: str, branch: str) -> str:
    return names.conv.format(stage=stage, block=label, branch=branch)


def _block_layers(names: Names, stage: int, label: str) -> set[str]:
    branches = (*names.branches, names.shortcut)
    templates = (names.conv, names.norm)
    return {t.format(stage=stage, block=label, branch=b) for t in templates for b in branches}


def _block_kind(present: set[str], names: Names) -> BlockKind:
    """A third convolution anywhere makes it a bottleneck."""
    for stage in range(FIRST_STAGE, FIRST_STAGE + MAX_STAGES):
        if _conv_name(names, stage, names.block(stage, 0), names.branches[2]) in present:
            return "bottleneck"
    return "basic"


def _block_counts(present: set[str], names: Names) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Block counts up to the last stage of which anything is there, and the stages named a, b1, b2."""
    counts: list[int] = []
    numbered: list[int] = []
    for stage in range(FIRST_STAGE, FIRST_STAGE + MAX_STAGES):
        with_numbers = dataclasses.replace(names, numbered_stages=(stage,))
        if names.block_labels == "letters" and _block_layers(names, stage, "b1") & present:
            numbered.append(stage)
            spelling, most = with_numbers, MAX_BLOCKS
        else:
            spelling, most = names, 26 if names.block_labels == "letters" else MAX_BLOCKS
        found = [i for i in range(most) if _block_layers(names, stage, spelling.block(stage, i)) & present]
        counts.append(found[-1] + 1 if found else 0)
    while counts and counts[-1] == 0:
        counts.pop()
    return tuple(max(count, 1) for count in counts), tuple(numbered)


def _filters(
    arrays: Mapping[str, Array], names: Names, block: BlockKind, counts: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Output channels as the first block of each stage has them; He et al.'s where that is not there."""
    standard = standard_filters(block, len(counts))
    rows = []
    for position, usual in enumerate(standard):
        stage = FIRST_STAGE + position
        label = names.block(stage, 0)
        found = (arrays.get(f"{_conv_name(names, stage, label, branch)}/kernel") for branch in names.branches)
        rows.append(tuple(w if a is None else a.shape[-1] for w, a in zip(usual, found, strict=False)))
    return tuple(rows)


def _middle_kernel_size(arrays: Mapping[str, Array], names: Names, block: BlockKind) -> tuple[int, int]:
    branch = names.branches[0 if block == "basic" else 1]
    kernel = arrays.get(f"{_conv_name(names, FIRST_STAGE, names.block(FIRST_STAGE, 0), branch)}/kernel")
    if kernel is None or len(kernel.shape) != 4:
        return (3, 3)
    return kernel.shape[0], kernel.shape[1]


def _head(arrays: Mapping[str, Array], dialect: Dialect, names: Names, hints: Hints) -> Head:
    classifier, hidden = arrays.get(f"{names.classifier}/kernel"), arrays.get(f"{names.hidden}/kernel")
    if classifier is None or dialect.head.classes is None:
        return Head(pooling=hints.pooling, classes=None)
    classes = classifier.shape[-1]
    return Head(
        pooling=hints.pooling or "avg",
        hidden_units=None if hidden is None else hidden.shape[-1],
        classes=classes,
        dropout=TUTORIAL.head.dropout if names.classifier == TUTORIAL.names.classifier else 0.0,
        activation="sigmoid" if classes == 1 else "softmax",
    )
