"""Which call of which layer each reference means, and an order to make the calls in."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from weight_transfer.errors import ArchitectureError, nearest
from weight_transfer.graph.flat_model import CallKey, Model, Row, Tensor
from weight_transfer.graph.graph import INPUT
from weight_transfer.graph.references import Ends, Inbound, Reference


def resolved(name: str, where: str, rows: dict[str, Row], starts: Ends, ends: Ends) -> Model:
    """Looks every reference up, and orders the calls.

    Args:
        name: Of the model.
        where: What messages call it.
        rows: Its layers by name.
        starts: Its inputs.
        ends: Its outputs.

    Raises:
        ArchitectureError: A reference leads nowhere or round in a circle, the inputs are none, or the model adds a
            loss of its own.
    """
    _check_losses(rows)
    outside = (*starts.references, *ends.references)
    bases = _bases(rows, outside)

    def resolve(reference: Reference, reader: str) -> Tensor:
        return _resolve(reference, rows, bases, reader)

    inputs = [resolve(reference, f"an input of {where}")[0] for reference in starts.references]
    _check_inputs(inputs, rows, where)
    reads = {
        (key, number): tuple(resolve(reference, f"layer {row.path!r}") for reference in inbound.references)
        for key, row in rows.items()
        for number, inbound in enumerate(row.inbound or _as_input(row))
    }
    outputs = tuple(resolve(reference, f"an output of {where}") for reference in ends.references)
    if not outputs:
        raise ArchitectureError(f"{where} has no outputs.")
    return Model(
        name,
        rows,
        tuple(inputs),
        tuple(inputs) if starts.keys is None else starts.keys,
        outputs,
        ends.keys,
        {key: reads[key] for key in _in_keras_order(reads, inputs, outputs, rows)},
    )


def _check_losses(rows: Mapping[str, Row]) -> None:
    """Refuses what tf_keras's ``model.add_loss`` leaves: no output reads it, and training adds it to the loss."""
    for row in rows.values():
        if row.class_name == "AddLoss":
            raise ArchitectureError(
                f"layer {row.path!r} (AddLoss): the model adds a loss of its own in training (model.add_loss), which "
                "is not supported. Build the model without it, load its weights, save it, and add the loss in the loop "
                "that trains the port."
            )


def _as_input(row: Row) -> tuple[Inbound, ...]:
    """An input's one call reads nothing; another layer without calls has none."""
    return (Inbound((), {}),) if row.class_name == INPUT else ()


def _check_inputs(inputs: Sequence[str], rows: Mapping[str, Row], where: str) -> None:
    if not inputs:
        raise ArchitectureError(f"{where} has no inputs.")
    for name in inputs:
        if rows[name].class_name != INPUT:
            raise ArchitectureError(
                f"{where} has {name!r} ({rows[name].class_name}) as an input. Expected an InputLayer."
            )
    if len(set(inputs)) < len(inputs):
        raise ArchitectureError(f"{where} lists an input twice.")
    for name in rows.keys() - set(inputs):
        row = rows[name]
        if row.class_name == INPUT:
            raise ArchitectureError(f"layer {row.path!r} (InputLayer) is none of the inputs of {where}.")


def _bases(rows: Mapping[str, Row], outside: Sequence[Reference]) -> dict[str, int]:
    """The node index by which lists name a nested model's first call.

    Keras numbers all calls of a model, and a functional model's first is its own building: 1 is the first
    call. A Sequential of Keras 3 has none; with a Sequential of Keras 2 it depends on whether it had been
    built, but as every call of a file's model is read, an index of 0 shows it. Keras 3's dicts leave it out.
    """
    bases = {name: 1 for name, row in rows.items() if row.model is not None}
    inside = (r for row in rows.values() for inbound in row.inbound for r in inbound.references)
    for reference in (*outside, *inside):
        row = rows.get(reference.layer)
        if row is None or row.model is None or not reference.listed:
            continue
        keras_3 = any(inbound.keras_3 for inbound in row.inbound)
        once = len(row.inbound) == 1
        if (reference.node == 0 and (once or row.class_name == "Sequential")) or (
            keras_3 and row.class_name == "Sequential" and not once
        ):
            bases[reference.layer] = 0
    return bases


def _resolve(reference: Reference, rows: Mapping[str, Row], bases: Mapping[str, int], reader: str) -> Tensor:
    row = rows.get(reference.layer)
    if row is None:
        raise ArchitectureError(
            f"{reader} reads layer {reference.layer!r}, which the model lacks{nearest(reference.layer, list(rows))}."
        )
    number = reference.node - (bases.get(reference.layer, 0) if reference.listed else 0)
    if row.class_name == INPUT:
        number = 0  # as tf_keras reads it, whatever the file says
    elif not 0 <= number < len(row.inbound):
        raise ArchitectureError(
            f"{reader} reads call {reference.node} of layer {row.path!r}, which the model calls "
            f"{len(row.inbound)} times."
        )
    if reference.tensor >= row.num_outputs:
        kind = "has" if row.model is not None else f"({row.class_name}) is taken to have"
        raise ArchitectureError(
            f"{reader} reads output {reference.tensor} of layer {row.path!r}, which {kind} {row.num_outputs}; "
            "layers with several outputs are not supported."
        )
    return reference.layer, number, reference.tensor


def _in_keras_order(
    reads: Mapping[CallKey, tuple[Tensor, ...]],
    inputs: Sequence[str],
    outputs: Sequence[Tensor],
    rows: Mapping[str, Row],
) -> list[CallKey]:
    """The calls as Keras makes them: the farthest from the outputs first, and none that no output needs.

    All calls of a layer count as far as the farthest of them that was looked at before. The order decides what a
    batch norm that is called twice ends with: its second call need not be the later one.

    Source: map_graph in keras/src/ops/function.py, keras 3.15.1; _map_graph_network in
        tf_keras/src/engine/functional.py, tf_keras 2.21.0. The two are one.
    """
    depths: dict[CallKey, int] = {}
    layer_depths: dict[str, int] = {}
    for key in reversed(_depth_first(reads, outputs, rows)):
        depth = max(depths.setdefault(key, 0), layer_depths.get(key[0], 0))
        depths[key] = layer_depths[key[0]] = depth
        for name, number, _ in reads[key]:
            depths[name, number] = max(depth + 1, depths.get((name, number), 0))
    for name in inputs:
        depths.setdefault((name, 0), 0)
    return sorted(depths, key=lambda key: -depths[key])


def _depth_first(
    reads: Mapping[CallKey, tuple[Tensor, ...]], outputs: Sequence[Tensor], rows: Mapping[str, Row]
) -> list[CallKey]:
    """The calls that the outputs need, each after what it reads, as Keras finds them on its way from the outputs."""
    order: dict[CallKey, None] = {}
    begun: set[CallKey] = set()
    for start, first, _ in outputs:
        stack = [(start, first)]
        while stack:
            key = stack[-1]
            waiting = next(((name, number) for name, number, _ in reads[key] if (name, number) not in order), None)
            if waiting is None:
                order[stack.pop()] = None
                continue
            begun.add(key)
            if waiting in begun:
                circle = {name for name, _ in stack[stack.index(waiting) :]}
                path = next(row.path for name, row in rows.items() if name in circle)
                raise ArchitectureError(f"layer {path!r} reads its own output: the graph has a cycle.")
            stack.append(waiting)
    return list(order)


def sequential(name: str, path: str, where: str, rows: dict[str, Row], config: Mapping[str, Any]) -> Model:
    """Chains a Sequential's layers, an input in front where Keras did not write one.

    Args:
        name: Of the model.
        path: Its path, empty for the outermost.
        where: What messages call it.
        rows: Its layers by name.
        config: Its config.

    Raises:
        ArchitectureError: It has no layers, states no input shape, or has an input in its middle.
    """
    if not rows:
        raise ArchitectureError(f"{where} has no layers.")
    first = next(iter(rows))
    if rows[first].class_name != INPUT:
        shape = _in_shape(rows[first]) or config.get("build_input_shape")
        if not path and not isinstance(shape, (list, tuple)):
            raise ArchitectureError(f"{where} has no inputs: it is a Sequential whose layers state no input shape.")
        added = f"{first}_input"  # as Keras calls it
        if added in rows:
            raise ArchitectureError(f"two layers of {path or 'the model'} are both named {added!r}.")
        input_config = {"name": added, "batch_input_shape": shape}
        rows = {added: Row(f"{path}/{added}" if path else added, "InputLayer", input_config, ()), **rows}
    chain = list(rows)
    for before, after in itertools.pairwise(chain):
        if rows[after].class_name == INPUT:
            raise ArchitectureError(f"layer {rows[after].path!r} (InputLayer) stands inside a Sequential.")
        given = Inbound(_all_outputs(before, rows[before]), {})
        rows[after] = dataclasses.replace(rows[after], inbound=(given,))
    starts, ends = (Ends(_all_outputs(key, rows[key])) for key in (chain[0], chain[-1]))
    return resolved(name, where, rows, starts, ends)


def _all_outputs(name: str, row: Row) -> tuple[Reference, ...]:
    """What the next layer of a chain reads."""
    return tuple(Reference(name, 0, tensor, False) for tensor in range(row.num_outputs))


def _in_shape(row: Row) -> Any:
    """The batch shape that a layer, or a nested model's first input, states."""
    if row.model is not None:
        return _in_shape(row.model.rows[row.model.inputs[0]])
    return row.config.get("batch_input_shape", row.config.get("batch_shape"))
