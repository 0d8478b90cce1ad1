"""A Sequential: a chain of layers, each called once on the one before it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from weight_transfer.errors import ArchitectureError
from weight_transfer.keras_graph.calls import Inbound
from weight_transfer.keras_graph.models import Model, Row
from weight_transfer.keras_graph.references import Ends, Reference
from weight_transfer.keras_graph.resolving import resolved


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
    if rows[first].class_name != "InputLayer":
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
        if rows[after].class_name == "InputLayer":
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
