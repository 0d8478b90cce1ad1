"""The regularizers that a Keras model's config holds, layer by layer, without any framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weight_transfer.class_owners import is_own
from weight_transfer.description import LayerRegularizers
from weight_transfer.errors import TransferError, listing
from weight_transfer.graph import Graph, Layer
from weight_transfer.graph.facts import ACTIVITY, regularizers_in
from weight_transfer.identified import Identified
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import Row, mapping

ORTHOGONAL = ("orthogonalregularizer", "orthogonal_regularizer")
# Classes of Keras 2 and 3, and how Keras 1 calls them.
SUMS = ("l1", "l2", "l1l2", "l1l2regularizer", "weightregularizer", "activityregularizer")

# Keras 1's arguments.
KERAS_1 = {
    f"{letter}_{kind}": f"{name}_{kind}"
    for letter, name in (("W", "kernel"), ("b", "bias"))
    for kind in ("regularizer", "constraint")
}
# What a layer may do without, its regularizer then without effect.
MAY_BE_ABSENT = ("bias", "b_", "gamma", "beta")


@dataclass(frozen=True)
class Penalty:
    """What a regularizer adds to the loss, of one tensor.

    Attributes:
        l1: Factor of the sum of absolute values.
        l2: Factor of the sum of squares; the gradient is twice that times the tensor.
        orthogonal: Factor of the mean absolute cosine between rows or columns of a matrix.
        mode: Of which, in Keras's layout.
    """

    l1: float = 0.0
    l2: float = 0.0
    orthogonal: float = 0.0
    mode: Literal["rows", "columns"] = "rows"


def penalty_from_keras(config: Any, where: str = "regularizer") -> Penalty:
    """Reads a regularizer's config, of any Keras.

    Args:
        config: ``class_name`` and ``config``; of Keras 1, ``name`` and the factors.
        where: Layer and argument, for messages.

    Raises:
        TransferError: It is none that is known, or a factor is no number from 0.

    Source: Keras 3.15.1 keras/src/regularizers/regularizers.py; keras 1.2 keras/regularizers.py.
    """
    values = dict(config) if isinstance(config, Mapping) else {}
    name = values.pop("class_name", values.pop("name", None))
    inner = values.get("config", values)
    package, _, known = str(name).lower().rpartition(">")
    if (package and not is_own(package)) or known not in (*SUMS, *ORTHOGONAL) or not isinstance(inner, Mapping):
        raise TransferError(
            f"{where}: no regularizer that is known: {config!r}. Expected L1, L2, L1L2 or OrthogonalRegularizer; "
            "add what it computes to the loss yourself."
        )
    factors = {key: inner.get(key) or 0.0 for key in ("l1", "l2", "factor")}
    wrong = [value for value in factors.values() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong or not all(0 <= value < math.inf for value in factors.values()):
        raise TransferError(f"{where}: a factor must be a number from 0. Received: {config!r}")
    mode = inner.get("mode", "rows")
    if mode not in ("rows", "columns"):
        raise TransferError(f"{where}: mode must be rows or columns. Received: {config!r}")
    return Penalty(float(factors["l1"]), float(factors["l2"]), float(factors["factor"]), mode)


def regularizers_of_backbone(identified: Identified) -> dict[str, dict[str, Any]]:
    """Those of a ResNet's layers, from the config: an architecture has the same names, and does not hold them."""
    return held_by_backbone(identified, regularizers_in)


def held_by_backbone(identified: Identified, read: Callable[[Layer], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the config of each of a ResNet's layers holds, by the architecture's name of the layer."""
    backbone, keras = identified.network.architecture, identified.keras
    if backbone is None or keras is None:
        return {}
    head = identified.network.imported
    elsewhere = set() if head is None else set(head.layers)
    weighted = set(resnet_graph(backbone).layers)
    found = {}
    for path, layer in keras.listed.items():
        held = read(layer)
        if held and path not in elsewhere:
            found[layer.name if layer.name in weighted else path] = held
    return found


def penalties(network: Graph, regularizers: LayerRegularizers) -> tuple[dict[str, Penalty], dict[str, Penalty]]:
    """Brings regularizers from layers to tensors.

    Args:
        network: Whose layers they are.
        regularizers: Of a `Description`.

    Returns:
        By state-dict key the penalty of each parameter, and by Keras layer that of each layer's output.

    Raises:
        TransferError: A regularizer is not known, or is of a layer that the network has not.
    """
    rows = {row.keras: row for row in mapping(network)}
    weights: dict[str, Penalty] = {}
    activities: dict[str, Penalty] = {}
    problems = []
    for layer, held in regularizers.items():
        for argument, config in held.items():
            penalty = penalty_from_keras(config, f"{layer}, {argument}")
            if argument == ACTIVITY:
                activities[layer] = penalty
                continue
            row = row_of(rows, layer, argument)
            if row is None and not argument.startswith(MAY_BE_ABSENT):
                problems.append(f"{layer}: {argument}")
            elif row is not None:
                weights[row.torch] = penalty
    if problems:
        raise TransferError(f"regularizers of weights that the network has not:{listing(problems)}")
    return weights, activities


def regularizers_for_keras(regularizers: LayerRegularizers) -> dict[str, dict[str, Any]]:
    """Writes regularizers as every Keras from 2.4 on reads them.

    Raises:
        TransferError: A regularizer is not known.
    """
    return rewritten(regularizers, lambda config, where: _for_keras(penalty_from_keras(config, where)))


def rewritten(
    layers: Mapping[str, Mapping[str, Any]], write: Callable[[Any, str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Rewrites what layers hold by argument, under the names that Keras 2 and 3 have for the arguments.

    Args:
        layers: Config by argument by layer.
        write: Makes the new config of one and of its place, ``layer, argument``, for messages.
    """
    return {
        layer: {
            KERAS_1.get(argument, argument): write(config, f"{layer}, {argument}") for argument, config in held.items()
        }
        for layer, held in layers.items()
    }


def _for_keras(penalty: Penalty) -> dict[str, Any]:
    name = "L1L2"
    config: dict[str, Any] = {"l1": penalty.l1, "l2": penalty.l2}
    if penalty.orthogonal:
        name, config = "OrthogonalRegularizer", {"factor": penalty.orthogonal, "mode": penalty.mode}
    return {"module": "keras.regularizers", "class_name": name, "config": config, "registered_name": None}


def row_of(rows: Mapping[str, Row], layer: str, argument: str) -> Row | None:
    """The array that an argument is about: ``depthwise_regularizer`` is of ``depthwise_kernel`` or ``kernel``."""
    stem = KERAS_1.get(argument, argument).rpartition("_")[0]
    roles = (stem, f"{stem}_kernel", *(("kernel",) if stem == "depthwise" else ()))
    return next((rows[f"{layer}/{role}"] for role in roles if f"{layer}/{role}" in rows), None)
