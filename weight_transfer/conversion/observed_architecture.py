"""The architecture that names and shapes show, read in one dialect's spelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from weight_transfer.architecture import (
    DEPTHS,
    FIRST_STAGE,
    Activation,
    Architecture,
    BlockKind,
    Conventions,
    Head,
    Names,
    Padding,
    Pooling,
    standard_filters,
)
from weight_transfer.checkpoint import Array
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.structure import own_name
from weight_transfer.graph import Graph, Layer
from weight_transfer.resnet.dialects import TUTORIAL, Dialect

MAX_STAGES, MAX_BLOCKS = 8, 64
OUTPUT_ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid")  # that `predict` of a ResNet applies


def observe(
    arrays: Mapping[str, Array], dialect: Dialect, names: Names, hints: Hints, graph: Graph | None
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


def observed_conventions(graph: Graph, architecture: Architecture) -> Architecture:
    """Returns the architecture with the conventions, head and input that the file's graph shows.

    Whether the rest of the graph says the same is for `structure.differences` to tell. What no graph shows
    (preprocessing) stays as it was.
    """
    names, old = architecture.names, architecture.conventions
    layers = {own_name(layer): layer for layer in graph.layers.values()}
    norm, stem = (layers[name].settings if name in layers else {} for name in (names.stem_norm, names.stem_conv))
    conventions = dataclasses.replace(
        old,
        epsilon=norm.get("epsilon", old.epsilon),
        momentum=norm.get("momentum", old.momentum),
        stride_in=_stride_in(layers, architecture),
        stem_padding="same" if stem.get("padding") == "same" else "zeros",
        pool_padding=_pool_padding(graph, old),
    )
    shape = next((shape for shape in graph.inputs.values() if len(shape) == 3), None)
    in_shape = architecture.in_shape if shape is None or shape[2] is None else (shape[0], shape[1], shape[2])
    head = _observed_head(graph, architecture)
    return dataclasses.replace(architecture, conventions=conventions, head=head, in_shape=in_shape)


def _stride_in(layers: Mapping[str, Layer], architecture: Architecture) -> Any:
    names = architecture.names
    if len(architecture.stages) < 2 or architecture.block == "basic":
        return architecture.conventions.stride_in
    stage = architecture.stages[1]
    first = layers.get(_conv_name(names, stage, names.block(stage, 0), names.branches[0]))
    if first is None:
        return architecture.conventions.stride_in
    return "1x1" if max(first.settings.get("strides", [1])) > 1 else "3x3"


def _pool_padding(graph: Graph, old: Conventions) -> Padding:
    before = {call.value: graph.layers[call.layer].class_name for call in graph.calls}
    for call in graph.calls:
        if before[call.value] == "MaxPooling2D":
            if graph.layers[call.layer].settings["padding"] == "same":
                return "same"
            return "zeros" if before.get(call.inputs[0]) == "ZeroPadding2D" else "none"
    return old.pool_padding


def _observed_head(graph: Graph, architecture: Architecture) -> Head:
    classes = {layer.class_name for layer in graph.layers.values()}
    pooling: Pooling | None = None
    if "GlobalMaxPooling2D" in classes:
        pooling = "max"
    elif classes & {"GlobalAveragePooling2D", "AveragePooling2D"}:
        pooling = "avg"
    if architecture.head.classes is None:
        return dataclasses.replace(architecture.head, pooling=pooling, dropout=0.0)
    return dataclasses.replace(
        architecture.head,
        pooling=pooling or architecture.head.pooling,
        dropout=_dropout_before(graph, architecture.names.classifier),
        activation=_output_activation(graph),
    )


def _dropout_before(graph: Graph, classifier: str) -> float:
    """The rate of the dropout that a layer reads; 0 of none."""
    before = {call.value: graph.layers[call.layer] for call in graph.calls}
    call = next((call for call in graph.calls if own_name(graph.layers[call.layer]) == classifier), None)
    layer = None if call is None else before.get(call.inputs[0])
    return layer.settings["rate"] if layer is not None and layer.class_name == "Dropout" else 0.0


def _output_activation(graph: Graph) -> Activation:
    """What the model ends in, by the name of its activation; the comparison looks at its axis."""
    found = graph.final_activations[0]
    return next((known for known in OUTPUT_ACTIVATIONS if known == found), "linear")
