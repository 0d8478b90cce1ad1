"""Which architecture a checkpoint holds: render every dialect's names and see whose equal the file's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from weight_transfer.architecture import (
    DEPTHS,
    FIRST_STAGE,
    Architecture,
    BlockKind,
    Conventions,
    Head,
    Names,
    Preprocessing,
    standard_filters,
)
from weight_transfer.checkpoint import Array, Checkpoint, read_checkpoint, read_config
from weight_transfer.conversion.accounting import Accounting
from weight_transfer.conversion.counters import by_counters, counted_blocks
from weight_transfer.conversion.heads import with_own_head
from weight_transfer.conversion.importing import imported
from weight_transfer.conversion.structure import differences, observed_conventions
from weight_transfer.dialects import DIALECTS, TUTORIAL, Dialect, design, dialect_named
from weight_transfer.errors import ArchitectureError, MappingError, TransferError, listing
from weight_transfer.families import FAMILIES, recognise
from weight_transfer.families.like import like
from weight_transfer.keras_graph import keras_graph
from weight_transfer.layer_graph import layer_graph
from weight_transfer.model_config import ModelGraph, model_graph
from weight_transfer.network import Network

MAX_STAGES, MAX_BLOCKS = 8, 64


ImportAs = Literal["native", "graph"]


@dataclass(frozen=True)
class Hints:
    """What a person says of a checkpoint that its file may not show.

    Attributes:
        dialect: Key of a dialect.
        depth: 18, 34, 50, 101 or 152.
        in_shape: (H, W) of the input.
        pooling: Global pooling of a network without a classifier.
        conventions: Fields of `Conventions` that differ from the dialect's.
        import_as: ``native`` for a `resnet_torch.ResNet` or nothing, ``graph`` for the network as its
            own graph has it; None takes the first that is possible.
        family: Key of a family of weights-only files.
        config: A JSON file with the model's description (``model.to_json()``).
        like: Another checkpoint of the same model, one that carries its description.
    """

    dialect: str | None = None
    depth: int | None = None
    in_shape: tuple[int, int] | None = None
    pooling: Any = None
    conventions: Mapping[str, Any] = field(default_factory=dict)
    import_as: ImportAs | None = None
    family: str | None = None
    config: Path | None = None
    like: Path | None = None

    def __post_init__(self) -> None:
        if self.dialect is not None:
            dialect_named(self.dialect)
        if self.depth is not None and self.depth not in DEPTHS:
            raise ArchitectureError(f"depth must be one of {tuple(DEPTHS)}. Received: depth={self.depth}")
        if self.family is not None and self.family not in FAMILIES:
            raise ArchitectureError(f"family must be one of {tuple(FAMILIES)}. Received: family={self.family!r}")


@dataclass(frozen=True)
class Identified:
    """A checkpoint's network, and its arrays under that network's names.

    Attributes:
        network: What the file holds.
        arrays: The file's arrays by ``layer/role`` of the network.
        assumed: What the file does not show and a dialect, a family or a person supplied, in words.
        config: The Keras model's config, from the file or from beside it, where there is one.
    """

    network: Network
    arrays: Mapping[str, Array]
    assumed: tuple[str, ...]
    config: Mapping[str, Any] | None = None


class _Ambiguous(ArchitectureError):
    """Several descriptions fit: a person decides, not the next attempt."""


def identify(checkpoint: Checkpoint, hints: Hints | None = None) -> Identified:
    """Finds what network a checkpoint holds.

    First the ResNets: the one architecture whose rendered names equal the checkpoint's. Else the
    graph in the file; else, for a weights-only file, the family whose names and shapes it has.

    Args:
        checkpoint: What `read_checkpoint` gave.
        hints: What the person knows.

    Raises:
        ArchitectureError: Nothing fits, or several that compute different things do; the message
            lists them and names the flag that decides. Or the graph has layers that are not supported.
        MappingError: One description nearly fits; the message lists what is missing and left over.
    """
    hints = hints or Hints()
    beside = _config_beside(hints)
    config = checkpoint.config if beside is None else beside
    if hints.import_as != "graph" and hints.family is None:
        try:
            return _native(checkpoint, hints, config)
        except _Ambiguous:
            raise
        except (ArchitectureError, MappingError) as error:
            if hints.import_as == "native" or _asks_for_native(hints):
                raise
            reason = error
    else:
        reason = ArchitectureError(f"{checkpoint.path.name}: a weights-only file of no known family carries no graph")
    preprocessing = hints.conventions.get("preprocessing", "none")
    if config is not None:
        names = None if beside is None else like(checkpoint, beside)
        network, arrays = imported(checkpoint, config, names, preprocessing)
        return Identified(network, arrays, (_said(hints, "preprocessing", preprocessing, "not known"),), config)
    return _of_a_family(checkpoint, hints, preprocessing, reason)


def _asks_for_native(hints: Hints) -> bool:
    """Whether the person named what only a ResNet has: then its errors are the ones to hear."""
    return hints.dialect is not None or hints.depth is not None


def _of_a_family(
    checkpoint: Checkpoint, hints: Hints, preprocessing: Preprocessing, reason: TransferError
) -> Identified:
    """The family of a weights-only file; ``reason`` is why it is no ResNet of a known dialect."""
    found = [one for one in recognise(checkpoint) if hints.family in (None, one.family)]
    if not found:
        raise reason
    if len(found) > 1:
        lines = [f"--family {one.family}: {one.title}" for one in found]
        raise ArchitectureError(
            f"{checkpoint.path.name}: {len(found)} families fit its names and shapes. "
            f"Decide with one of:{listing(lines)}"
        )
    one = found[0]
    network, arrays = imported(checkpoint, one.config, one.names, preprocessing)
    assumed = (
        f"{one.title}: {FAMILIES[one.family].assumptions}",
        _said(hints, "preprocessing", preprocessing, "not known"),
    )
    return Identified(network, arrays, assumed, one.config)


def _config_beside(hints: Hints) -> Mapping[str, Any] | None:
    """The model's description from another file, where the person names one."""
    if hints.config is not None:
        return read_config(hints.config)
    if hints.like is None:
        return None
    with read_checkpoint(hints.like) as other:
        if other.config is None:
            raise ArchitectureError(
                f"{hints.like}: holds no description of its model. Expected a full-model file for --like."
            )
        return other.config


def _native(checkpoint: Checkpoint, hints: Hints, config: Mapping[str, Any] | None) -> Identified:
    """The one ResNet whose rendered names equal the checkpoint's."""
    graph = model_graph(config) if config is not None else None
    candidates = list(_candidates(checkpoint, hints, graph))
    exact = [candidate for candidate in candidates if candidate.accounting.complete]
    if not exact:
        headed = (
            None if graph is None or config is None else _with_own_head(checkpoint, hints, candidates, config, graph)
        )
        if headed is not None:
            return headed
        raise _nothing_fits(checkpoint, candidates)
    if graph is not None and config is not None:
        layer_graph(keras_graph(config))  # refuses what a layer has beyond what the comparison looks at
        exact = _same_structure(checkpoint, exact, graph)
    distinct = {_computation(candidate.architecture): candidate for candidate in reversed(exact)}
    if len(distinct) > 1:
        raise _several_fit(checkpoint, list(reversed(distinct.values())))
    chosen = exact[0]
    assumed = _assumed(chosen.architecture, graph, hints)
    return Identified(chosen.architecture, chosen.accounting.arrays, assumed, config)


def _with_own_head(
    checkpoint: Checkpoint,
    hints: Hints,
    candidates: Sequence[_Candidate],
    config: Mapping[str, Any],
    graph: ModelGraph,
) -> Identified | None:
    """A known ResNet up to its last stage, and behind it whatever the file's graph has."""
    for candidate in candidates:
        found = with_own_head(checkpoint, candidate.architecture, candidate.accounting.arrays, config, graph)
        if found is not None:
            network, arrays = found
            return Identified(network, arrays, _assumed(network.backbone, graph, hints), config)
    return None


def _said(hints: Hints, name: str, value: Any, otherwise: str) -> str:
    return f"{name} {value} ({'you said so' if name in hints.conventions else otherwise})"


@dataclass(frozen=True)
class _Candidate:
    dialect: Dialect
    architecture: Architecture
    accounting: Accounting


def _candidates(checkpoint: Checkpoint, hints: Hints, graph: ModelGraph | None) -> Iterator[_Candidate]:
    dialects = [DIALECTS[hints.dialect]] if hints.dialect else list(DIALECTS.values())
    for dialect in dialects:
        for spelling in dialect.spellings:
            names = dataclasses.replace(dialect.names, **spelling)  # type: ignore[arg-type]
            for arrays in _named(checkpoint, dialect, names):
                architecture = _observe(arrays, dialect, names, hints, graph)
                if architecture is not None:
                    yield _Candidate(dialect, architecture, Accounting.of(arrays, architecture))


def _named(checkpoint: Checkpoint, dialect: Dialect, names: Names) -> Iterator[Mapping[str, Array]]:
    """The arrays by ``layer/role``; a file that only counts its layers gets the dialect's names."""
    arrays = without_nesting(checkpoint)
    if not checkpoint.names_are_counters:
        yield arrays
        return
    blocks = counted_blocks(arrays)
    if blocks is None:
        return
    hidden = 1 if names.classifier == TUTORIAL.names.classifier else None
    for head in (Head(hidden_units=hidden, classes=1), Head(pooling=None, classes=None)):
        template = design(dialect=dialect, block=blocks[0], block_counts=blocks[1], head=head)
        numbered = template.names.numbered_stages
        template = dataclasses.replace(template, names=dataclasses.replace(names, numbered_stages=numbered))
        renamed = by_counters(arrays, template)
        if renamed is not None:
            yield renamed


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


def _observe(
    arrays: Mapping[str, Array], dialect: Dialect, names: Names, hints: Hints, graph: ModelGraph | None
) -> Architecture | None:
    """The architecture that the names and shapes show, in this spelling; None where nothing of it is there."""
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


def _same_structure(checkpoint: Checkpoint, exact: list[_Candidate], graph: ModelGraph) -> list[_Candidate]:
    """Keeps the candidates that compute what the file's own graph computes."""
    found = [(candidate, differences(graph, candidate.architecture)) for candidate in exact]
    same = [candidate for candidate, lines in found if not lines]
    if same:
        return same
    candidate, lines = min(found, key=lambda pair: len(pair[1]))
    raise ArchitectureError(
        f"{checkpoint.path.name}: its layers have the names of {candidate.dialect.title}, but its model "
        f"computes something else:{listing(lines)}"
    )


def _computation(architecture: Architecture) -> object:
    """What two candidates must share to be the same network."""
    a = architecture
    conventions = dataclasses.replace(a.conventions, kernel_initializer="he_normal")
    return (a.block, a.block_counts, a.filters, a.head, conventions)


def _assumed(architecture: Architecture, graph: ModelGraph | None, hints: Hints) -> tuple[str, ...]:
    """What neither names nor a graph show, with its value and who says so."""
    shown = ["preprocessing"] if graph is not None else list(_DECIDING)
    lines = [_said(hints, name, getattr(architecture.conventions, name), architecture.dialect) for name in shown]
    if graph is None:
        size = "x".join(str(n) for n in architecture.in_shape)
        lines.append(f"in_shape {size} ({'you said so' if hints.in_shape else architecture.dialect})")
    return tuple(lines)


# What no name or shape shows and changes the outputs, with the flag that decides it.
_DECIDING: Mapping[str, str] = {
    "epsilon": "--epsilon",
    "stride_in": "--stride-in",
    "stem_padding": "--stem-padding",
    "pool_padding": "--pool-padding",
    "preprocessing": "--preprocessing",
}


def _several_fit(checkpoint: Checkpoint, candidates: Sequence[_Candidate]) -> _Ambiguous:
    fields = [f.name for f in dataclasses.fields(Conventions) if f.name in _DECIDING]
    differing = [name for name in fields if len({getattr(c.architecture.conventions, name) for c in candidates}) > 1]
    lines = [
        f"--dialect {c.dialect.key}: "
        + ", ".join(f"{name} {getattr(c.architecture.conventions, name)}" for name in differing)
        + f"  ({c.dialect.title})"
        for c in candidates
    ]
    return _Ambiguous(
        f"{checkpoint.path.name}: {len(candidates)} descriptions fit its names and shapes, and a weights file "
        f"does not show which is meant. Decide with one of:{listing(lines)}"
    )


def _nothing_fits(checkpoint: Checkpoint, candidates: Sequence[_Candidate]) -> Exception:
    if not candidates:
        first = ", ".join(list(checkpoint.arrays)[:3]) or "no arrays at all"
        known = "\n".join(f"  {d.key}: {d.names.stem_conv}, {d.names.conv}" for d in DIALECTS.values())
        return ArchitectureError(
            f"{checkpoint.path.name}: its names are those of no dialect. It starts with {first}. "
            f"Known dialects (--dialect) and their names:\n{known}"
        )
    best = min(candidates, key=lambda candidate: candidate.accounting.num_problems)
    a = best.architecture
    return best.accounting.error(
        f"{checkpoint.path.name}: not the ResNet-{a.depth} of dialect {best.dialect.key} that it comes closest to"
    )
