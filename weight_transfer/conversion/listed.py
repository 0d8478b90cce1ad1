"""A ResNet as a file would list it: the layers of an architecture, in each spelling that computes the same."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weight_transfer.architecture import Architecture, Pooling
from weight_transfer.conversion.hints import Hints
from weight_transfer.graph import keras_depths
from weight_transfer.graph.graph import INPUT
from weight_transfer.layer_list import Expected, LayerList, kind_of_class, left_out_line
from weight_transfer.layer_types import Settings
from weight_transfer.resnet.recipe import resnet_graph

# Layers that a file of somebody's code may hold although the ResNet of the same computation has them otherwise.
POOL_OF_ALL = "AveragePooling2D"  # over the whole feature map, as Keras before 2.2.3 pooled, Flatten behind it
PAD = "ZeroPadding2D"
DROPOUT = "dropout"


@dataclass(frozen=True)
class Listed:
    """An architecture laid on a file's list.

    Attributes:
        architecture: With the pooling and the dropout that the list shows.
        differences: In words; empty where the file can list it.
        assumed: What the list cannot show, and what it shows and the architecture leaves out, in words.
    """

    architecture: Architecture
    differences: tuple[str, ...]
    assumed: tuple[str, ...] = ()


def laid_on_list(architecture: Architecture, listed: LayerList, hints: Hints) -> Listed:
    """Lays an architecture on a file's list: as it is, then with each pooling and spelling that its arrays allow.

    Args:
        architecture: That the file's arrays fit.
        listed: What the file lists.
        hints: What the person says; padding that they decide is not held against the list.
    """
    explicit = hints.dialect is not None or {"stem_padding", "pool_padding"} & hints.conventions.keys()
    best: Listed | None = None
    ways = [(listed, frozenset[str]())]
    if explicit:
        ways.append((_without_pads(listed, architecture), frozenset({kind_of_class(PAD)})))
    for held, ignored in ways:
        for pooled in _poolings(architecture, hints):
            for spelling in _spellings(pooled):
                differences = held.differences(_expected(spelling.rows, listed), ignored)
                if not differences:
                    return _found(pooled, spelling, listed, padding_said=bool(ignored))
                if best is None or len(differences) < len(best.differences):
                    best = Listed(pooled, differences)
    return best or Listed(architecture, ())


def _found(architecture: Architecture, spelling: _Spelling, listed: LayerList, *, padding_said: bool) -> Listed:
    """The architecture with the dropouts that the list shows, and what is to be said."""
    head = architecture.head
    places = 0 if head.classes is None else 1 if head.hidden_units is None else 2
    rate = head.dropout if len(_dropouts(listed)) == places else 0.0
    found = dataclasses.replace(architecture, head=dataclasses.replace(head, dropout=rate))
    said = [*spelling.assumed]
    if rate:
        said.append(f"dropout {rate:g} before the dense layers ({architecture.dialect}; the file lists no rate)")
    expected = _expected(_rows(found), listed)
    left_out, unclear = listed.training_only(expected), listed.unclear(expected)
    if left_out:
        said.append(left_out_line(left_out))
    if listed.nested:
        said.append(f"the layers without arrays inside {', '.join(listed.nested)} (the file does not list them)")
    if padding_said:
        said.append("zero padding otherwise than the file lists it (you said so)")
    if unclear:
        said.append(f"what {len(unclear)} layers are of which the file lists no function ({unclear[0]})")
    return Listed(found, (), tuple(said))


def _without_pads(listed: LayerList, architecture: Architecture) -> LayerList:
    """The list without what the dialect calls its padding layers."""
    names = architecture.names
    pad = re.sub(r"\\{[a-z]+\\}", ".+", re.escape(names.pad))
    pads = {names.stem_pad, names.pool_pad}
    kept = (e for e in listed.entries if e.name not in pads and not (e.kind is None and re.fullmatch(pad, e.name)))
    return dataclasses.replace(listed, entries=tuple(kept))


def _dropouts(listed: LayerList) -> list[str]:
    return [entry.name for entry in listed.entries if entry.kind == DROPOUT]


def _poolings(architecture: Architecture, hints: Hints) -> Iterator[Architecture]:
    """The architecture with each global pooling that a file of its arrays may have."""
    poolings: tuple[Pooling | None, ...] = (architecture.head.pooling,)
    if hints.pooling is None:
        poolings = (*poolings, *(pooling for pooling in ("avg", "max") if pooling not in poolings))
    for pooling in poolings:
        yield dataclasses.replace(architecture, head=dataclasses.replace(architecture.head, pooling=pooling))


@dataclass(frozen=True)
class _Row:
    """A layer that a file may list.

    Attributes:
        name: Its own.
        class_name: Keras class.
        inputs: Names of the layers that it reads.
        settings: What it computes, where the architecture has it.
        has_arrays: Whether it holds any.
    """

    name: str
    class_name: str
    inputs: tuple[str, ...] = ()
    settings: Settings = dataclasses.field(default_factory=dict)
    has_arrays: bool = False


def _rows(architecture: Architecture) -> tuple[_Row, ...]:
    graph = resnet_graph(architecture)
    inputs = [_Row(value, INPUT) for value in graph.inputs]
    layers = [(call.inputs, graph.layers[call.layer]) for call in graph.calls]
    return (*inputs, *(_Row(one.path, one.class_name, fed, one.settings, bool(one.weights)) for fed, one in layers))


@dataclass(frozen=True)
class _Spelling:
    rows: tuple[_Row, ...]
    assumed: tuple[str, ...] = ()


def _spellings(architecture: Architecture) -> Iterator[_Spelling]:
    """An architecture's layers as this program writes them, and as others write the same."""
    names, head = architecture.names, architecture.head
    for padded, pooled, hidden, last in itertools.product((False, True), repeat=4):
        rows, assumed = _rows(architecture), []
        if (hidden and head.hidden_units is None) or (last and head.classes is None):
            continue
        if pooled and head.pooling == "max":
            continue
        if padded:  # keras-resnet pads every 3x3 by a layer of its own, which computes what 'same' does
            same = [row.name for row in rows if row.settings.get("padding") == "same" and _is_middle(row)]
            for name in same:
                rows = _before(rows, name, PAD)
        if pooled and head.pooling is None:
            rows = _after(rows, rows[-1].name, POOL_OF_ALL)
            assumed.append("no pooling at the end, where the file lists one layer more")
        elif pooled:
            rows = _after(_replaced(rows, names.global_pool, POOL_OF_ALL), names.global_pool, "Flatten")
        if hidden:
            rows = _after(rows, names.hidden, "ReLU")
        if last:
            rows = _after(rows, names.classifier, "Softmax")
        yield _Spelling(rows, tuple(assumed))


def _is_middle(row: _Row) -> bool:
    kernel, strides = row.settings.get("kernel_size", [1]), row.settings.get("strides", [1])
    return row.class_name == "Conv2D" and max(kernel) > 1 and max(strides) == 1


def _before(rows: Sequence[_Row], name: str, class_name: str) -> tuple[_Row, ...]:
    added = f"{name}/{class_name}"
    found: list[_Row] = []
    for row in rows:
        if row.name == name:
            found += [_Row(added, class_name, row.inputs), dataclasses.replace(row, inputs=(added,))]
        else:
            found.append(row)
    return tuple(found)


def _after(rows: Sequence[_Row], name: str, class_name: str) -> tuple[_Row, ...]:
    added = f"{name}/{class_name}"
    moved = [
        dataclasses.replace(row, inputs=tuple(added if source == name else source for source in row.inputs))
        for row in rows
    ]
    place = next(number for number, row in enumerate(rows) if row.name == name) + 1
    return (*moved[:place], _Row(added, class_name, (name,)), *moved[place:])


def _replaced(rows: Sequence[_Row], name: str, class_name: str) -> tuple[_Row, ...]:
    return tuple(_Row(name, class_name, row.inputs) if row.name == name else row for row in rows)


def _expected(rows: Sequence[_Row], listed: LayerList) -> list[Expected]:
    """The layers by depth, deepest first, as Keras lists them."""
    depths = keras_depths({row.name: row.inputs for row in rows})
    return [
        Expected(
            row.class_name,
            row.name if row.has_arrays and listed.ordered else None,
            depths[row.name],
            ("activation",) if row.class_name in ("ReLU", "Softmax") else (),
        )
        for row in sorted(rows, key=lambda row: -depths[row.name])
    ]
