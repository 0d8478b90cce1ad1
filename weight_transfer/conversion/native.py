"""The ResNet that a checkpoint holds: the one architecture whose rendered names equal the checkpoint's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from weight_transfer.architecture import Architecture, Conventions, Head
from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.conversion.array_accounts import Accounting, by_role
from weight_transfer.conversion.candidates import Candidate, candidates_of
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.listed import Listed, laid_on_list
from weight_transfer.conversion.structure import check_called_once, differences, same_values
from weight_transfer.errors import ArchitectureError, listing
from weight_transfer.graph import Graph
from weight_transfer.identified import NO_LIST, Ambiguous, AnotherStructure, Identified
from weight_transfer.layer_list import layer_list_of
from weight_transfer.resnet.dialects import DIALECTS
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph


def native(checkpoint: Checkpoint, hints: Hints, graph: Graph | None) -> Identified:
    """Finds the one ResNet whose rendered names equal the checkpoint's.

    Args:
        checkpoint: The file.
        hints: What the person knows.
        graph: Its model's, where there is one.

    Raises:
        ArchitectureError: Nothing fits (`AnotherStructure`, where only the graph differs), or several (`Ambiguous`).
        MappingError: One nearly fits; the message lists what is missing and left over.
    """
    if graph is not None:
        check_called_once(graph.checked())
    candidates = list(candidates_of(checkpoint, hints, graph))
    complete = [candidate for candidate in candidates if candidate.accounting.complete]
    exact = complete
    if graph is not None:
        exact = [candidate for candidate in complete if not differences(graph, candidate.architecture)]
    if not exact:
        headed = None if graph is None else _with_own_head(checkpoint, hints, candidates, graph)
        if headed is not None:
            return headed
        if complete and graph is not None:
            raise _another_structure(checkpoint, complete, graph)
        raise _nothing_fits(checkpoint, candidates)
    if graph is not None:
        return _decided(checkpoint, exact, graph, hints)
    listed = layer_list_of(checkpoint)
    if listed is None:
        found = _decided(checkpoint, exact, graph, hints)
        return dataclasses.replace(found, assumed=(*found.assumed, NO_LIST))
    laid = [(candidate, laid_on_list(candidate.architecture, listed, hints)) for candidate in exact]
    fitting = [dataclasses.replace(one, architecture=on.architecture) for one, on in laid if not on.differences]
    if not fitting:
        raise _lists_another(checkpoint, *min(laid, key=lambda pair: len(pair[1].differences)))
    found = _decided(checkpoint, fitting, graph, hints)
    said = next(on.assumed for _, on in laid if on.architecture == found.network.architecture)
    return dataclasses.replace(found, assumed=(*found.assumed, *said))


def _decided(checkpoint: Checkpoint, fitting: Sequence[Candidate], graph: Graph | None, hints: Hints) -> Identified:
    """The one candidate, or the first of those that are the same network.

    Raises:
        ArchitectureError: They are different networks, or pair the file's arrays otherwise.
    """
    distinct = {_computation(candidate.architecture): candidate for candidate in reversed(fitting)}
    if len(distinct) > 1:
        raise _several_fit(checkpoint, list(reversed(distinct.values())))
    if len({_pairing(candidate.accounting) for candidate in fitting}) > 1:
        raise Ambiguous(
            f"{checkpoint.path.name}: it only counts its layers, and which of two convolutions of one shape is the "
            "shortcut's, nothing in it shows. Give the model's description by --config or --like."
        )
    chosen = fitting[0]
    return Identified(
        resnet_graph(chosen.architecture), chosen.accounting.arrays, _assumed(chosen.architecture, graph, hints)
    )


def _pairing(accounting: Accounting) -> tuple[str, ...]:
    """The file's array of each row, in the network's order."""
    return tuple(accounting.arrays[row.keras].name for row in accounting.rows)


def _lists_another(checkpoint: Checkpoint, candidate: Candidate, laid: Listed) -> ArchitectureError:
    return ArchitectureError(
        f"{checkpoint.path.name}: its arrays are those of {candidate.dialect.title}, but it lists other layers, so it "
        f"is another network:{listing(laid.differences)}\n"
        "Give the model's own description by --config model.json or --like a full-model file of the same model."
    )


def _with_own_head(
    checkpoint: Checkpoint,
    hints: Hints,
    candidates: Sequence[Candidate],
    graph: Graph,
) -> Identified | None:
    """A known ResNet up to its last stage, and behind it whatever the file's graph has."""
    for candidate in candidates:
        found = split_at_head(checkpoint, candidate.architecture, candidate.accounting.arrays, graph)
        if found is not None:
            network, arrays = found
            return Identified(network, arrays, _assumed(candidate.architecture, graph, hints))
    return None


def _said(hints: Hints, name: str, value: Any, otherwise: str) -> str:
    return f"{name} {value} ({'you said so' if name in hints.conventions else otherwise})"


def _another_structure(checkpoint: Checkpoint, complete: list[Candidate], graph: Graph) -> ArchitectureError:
    """The error for arrays that fit a ResNet whose graph is not the file's."""
    found = [(candidate, differences(graph, candidate.architecture)) for candidate in complete]
    candidate, different = min(found, key=lambda pair: len(pair[1]))
    error = AnotherStructure(
        f"{checkpoint.path.name}: its layers have the names of {candidate.dialect.title}, but its model "
        f"computes something else:{listing(map(str, different))}"
    )
    more = f" (+{len(different) - 1} more)" if len(different) > 1 else ""
    error.remark = f"its own graph, and not {candidate.dialect.title}: {different[0]}{more}"
    return error


def _computation(architecture: Architecture) -> object:
    """What two candidates must share to be the same network."""
    a = architecture
    conventions = dataclasses.replace(a.conventions, kernel_initializer="he_normal")
    return (a.block, a.block_counts, a.filters, a.head, conventions)


def _assumed(architecture: Architecture, graph: Graph | None, hints: Hints) -> tuple[str, ...]:
    """What neither names nor a graph show, with its value and who says so."""
    if graph is not None:
        return ()
    lines = [_said(hints, name, getattr(architecture.conventions, name), architecture.dialect) for name in _DECIDING]
    if architecture.head.classes is not None:
        lines.append(f"last activation {architecture.head.activation} ({architecture.dialect})")
    size = "x".join(str(n) for n in architecture.in_shape)
    return (*lines, f"in_shape {size} ({'you said so' if hints.in_shape else architecture.dialect})")


_DECIDING: Mapping[str, str] = {
    "epsilon": "--epsilon",
    "stride_in": "--stride-in",
    "stem_padding": "--stem-padding",
    "pool_padding": "--pool-padding",
}


def _several_fit(checkpoint: Checkpoint, candidates: Sequence[Candidate]) -> Ambiguous:
    fields = [f.name for f in dataclasses.fields(Conventions) if f.name in _DECIDING]
    differing = [name for name in fields if len({getattr(c.architecture.conventions, name) for c in candidates}) > 1]
    lines = [
        f"--dialect {c.dialect.key}: "
        + ", ".join(f"{name} {getattr(c.architecture.conventions, name)}" for name in differing)
        + f"  ({c.dialect.title})"
        for c in candidates
    ]
    return Ambiguous(
        f"{checkpoint.path.name}: {len(candidates)} descriptions fit its names and shapes, and a weights file "
        f"does not show which is meant. Decide with one of:{listing(lines)}"
    )


def _nothing_fits(checkpoint: Checkpoint, candidates: Sequence[Candidate]) -> Exception:
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


def split_at_head(
    checkpoint: Checkpoint, architecture: Architecture, arrays: Mapping[str, Array], graph: Graph
) -> tuple[Graph, Mapping[str, Array]] | None:
    """Splits a model into a ResNet's stages and the head behind them.

    Args:
        checkpoint: The file.
        architecture: What its names and shapes show.
        arrays: Its arrays by ``layer/role``, nested models' names left out.
        graph: Its model's.

    Returns:
        The network and its arrays, or None where the backbone is no ResNet of these names, or where
        the head reads from the middle of it.
    """
    backbone = dataclasses.replace(architecture, head=Head(pooling=None, classes=None))
    accounting = Accounting.of(arrays, resnet_graph(backbone))
    if accounting.missing or accounting.misfits or differences(graph, backbone, outputs=False):
        return None
    head = head_behind(backbone, graph)
    if head is None:
        return None
    network = with_own_head(backbone, head)
    needed = {row.keras for row in accounting.rows}
    found = {name: array for name, array in arrays.items() if name in needed} | {
        name: array
        for name, array in by_role(head, checkpoint.arrays).items()
        if name.rpartition("/")[0] in head.layers
    }
    balance = Accounting.of(found, network)
    if not balance.complete or len(found) != len(checkpoint.arrays):
        return None
    return network, found


def head_behind(backbone: Architecture, graph: Graph) -> Graph | None:
    """Returns what follows a ResNet's stages in a model's graph; None where it reads from the middle of them.

    Args:
        backbone: The ResNet, without a head.
        graph: The whole model's.
    """
    (end,) = resnet_graph(backbone).outputs
    value = same_values(graph, backbone).get(end)
    return None if value is None else _behind(graph, value)


def _behind(graph: Graph, value: str) -> Graph | None:
    """The part of a graph that follows one value and reads nothing else of what comes before."""
    before = _ancestors(graph, value)
    rest = [call for call in graph.calls if call.value not in before]
    known = {value, *(call.value for call in rest)}
    reads_only_the_end = all(known.issuperset(call.inputs) for call in rest)
    shared = {call.layer for call in rest} & {call.layer for call in graph.calls if call.value in before}
    if not rest or not reads_only_the_end or shared or value in graph.outputs or not known.issuperset(graph.outputs):
        return None
    return graph.behind(value, rest)


def _ancestors(graph: Graph, value: str) -> set[str]:
    """A value and everything that it depends on."""
    sources = {call.value: call.inputs for call in graph.calls}
    found, waiting = set(), [value]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(sources.get(name, ()))
    return found
