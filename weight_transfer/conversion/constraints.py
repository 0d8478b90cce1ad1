"""The constraints that a Keras model's config holds, layer by layer, without any framework."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from weight_transfer.class_owners import is_own
from weight_transfer.conversion.regularizers import MAY_BE_ABSENT, held_by_backbone, rewritten, row_of
from weight_transfer.description import LayerConstraints
from weight_transfer.errors import TransferError, listing
from weight_transfer.graph import Graph
from weight_transfer.graph.facts import constraints_in
from weight_transfer.identified import Identified
from weight_transfer.layer_types import Weight
from weight_transfer.weight_mapping import mapping

Kind: TypeAlias = Literal["MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm"]
# Each argument's default in Keras.
ARGUMENTS: Mapping[Kind, Mapping[str, Any]] = {
    "MaxNorm": {"max_value": 2.0, "axis": 0},
    "NonNeg": {},
    "UnitNorm": {"axis": 0},
    "MinMaxNorm": {"min_value": 0.0, "max_value": 1.0, "rate": 1.0, "axis": 0},
}
KERAS_1_ARGUMENTS = {"m": "max_value"}


@dataclass(frozen=True)
class Constraint:
    """What a weight is made to be after each step of the optimizer, in Keras's layout.

    Attributes:
        kind: Keras's class.
        min_value: Least norm.
        max_value: Largest norm.
        rate: How much of the way to a norm in between a step goes.
        axis: Along which the norms are taken; None for all.
    """

    kind: Kind
    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: tuple[int, ...] | None = (0,)


@dataclass(frozen=True)
class ConstrainedWeight:
    """A constraint, and how Keras lays out the weight that it is of.

    Attributes:
        constraint: Which; the error that refuses it where it is none that is known.
        weight: The layout.
    """

    constraint: Constraint | TransferError
    weight: Weight


def constraint_from_keras(config: Any, where: str = "constraint", rank: int | None = None) -> Constraint:
    """Reads a constraint's config, of any Keras.

    Args:
        config: ``class_name`` and ``config``; of Keras 1, ``name`` and the arguments.
        where: Layer and argument, for messages.
        rank: Number of the weight's axes, where it is known.

    Raises:
        TransferError: It is none that is known, or an argument has an impossible value.

    Source: Keras 3.15.1 keras/src/constraints/constraints.py; tf_keras 2.21 constraints.py; keras 1.2
    keras/constraints.py.
    """
    values = dict(config) if isinstance(config, Mapping) else {"class_name": config}
    name = values.pop("class_name", values.pop("name", None))
    inner = values.get("config", values)
    package, _, bare = str(name).rpartition(">")
    kind = next((kind for kind in get_args(Kind) if kind.lower() == bare.replace("_", "").lower()), None)
    if kind is None or (package and not is_own(package)) or not isinstance(inner, Mapping):
        raise TransferError(
            f"{where}: no constraint that is known: {config!r}. Expected {', '.join(get_args(Kind))}. Apply what it "
            "does yourself after each step."
        )
    given = {KERAS_1_ARGUMENTS.get(key, key): value for key, value in inner.items()}
    arguments = {key: given.get(key, default) for key, default in ARGUMENTS[kind].items()}
    axes = _axes(arguments.pop("axis", 0), rank)
    wrong = [value for value in arguments.values() if not _is_number(value)]
    if axes == () or wrong:
        raise TransferError(f"{where}: expected numbers, and axes of the weight. Received: {config!r}")
    return Constraint(kind, **{key: float(value) for key, value in arguments.items()}, axis=axes)


def _axes(value: Any, rank: int | None) -> tuple[int, ...] | None:
    """The axes; none of them where they are not the weight's."""
    if value is None:
        return None
    axes = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    known = range(-100, 100) if rank is None else range(-rank, rank)
    return axes if all(isinstance(axis, int) and axis in known for axis in axes) else ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def constraints_of_backbone(identified: Identified) -> dict[str, dict[str, Any]]:
    """Those of a ResNet's layers, from the config: an architecture has the same names, and does not hold them."""
    return held_by_backbone(identified, constraints_in)


def constrained_weights(network: Graph, constraints: LayerConstraints) -> dict[str, ConstrainedWeight]:
    """Brings constraints from layers to tensors.

    Args:
        network: Whose layers they are.
        constraints: By layer and argument, as the file has them.

    Returns:
        By state-dict key. The network computes as it does whatever its constraints are, so that one which is not
        known is refused when the weight is trained: the error stands in its place.

    Raises:
        TransferError: A constraint is of a weight that the network has not.
    """
    rows = {row.keras: row for row in mapping(network)}
    found = {}
    problems = []
    for layer, held in constraints.items():
        for argument, config in held.items():
            row = row_of(rows, layer, argument)
            if row is not None:
                read = _read_or_refused(config, f"{layer}, {argument}", len(row.shape))
                found[row.torch] = ConstrainedWeight(read, row.weight)
            elif not argument.startswith(MAY_BE_ABSENT):
                problems.append(f"{layer}: {argument}")
    if problems:
        raise TransferError(f"constraints of weights that the network has not:{listing(problems)}")
    return found


def _read_or_refused(config: Any, where: str, rank: int) -> Constraint | TransferError:
    try:
        return constraint_from_keras(config, where, rank)
    except TransferError as error:
        return error


def constraints_for_keras(constraints: LayerConstraints) -> dict[str, dict[str, Any]]:
    """Writes constraints as every Keras from 2.4 on reads them.

    Raises:
        TransferError: A constraint is not known.
    """
    return rewritten(constraints, lambda config, where: _for_keras(constraint_from_keras(config, where)))


def _for_keras(constraint: Constraint) -> dict[str, Any]:
    config = {key: getattr(constraint, key) for key in ARGUMENTS[constraint.kind]}
    if constraint.axis is not None and "axis" in config:
        config["axis"] = constraint.axis[0] if len(constraint.axis) == 1 else list(constraint.axis)
    return {"module": "keras.constraints", "class_name": constraint.kind, "config": config, "registered_name": None}
