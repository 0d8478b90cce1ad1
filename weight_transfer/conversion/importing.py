"""A network from a Keras model's own graph, and the checkpoint's arrays under its names."""

from __future__ import annotations

from collections.abc import Mapping

from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.conversion.accounting import Accounting
from weight_transfer.keras_graph import KerasGraph
from weight_transfer.layer_graph import LayerGraph, layer_graph
from weight_transfer.layer_types import ROLE_ALIASES


def imported(
    checkpoint: Checkpoint,
    keras: KerasGraph,
) -> tuple[LayerGraph, Mapping[str, Array]]:
    """Imports a model's graph and finds every array of it in the checkpoint.

    Args:
        checkpoint: The arrays, by the names of the graph's layers.
        keras: The model's graph, from the checkpoint's own config or another's.

    Raises:
        ArchitectureError: The graph has layers that cannot be imported.
        MappingError: Arrays are missing, left over or of a wrong shape.
    """
    network = layer_graph(keras, checkpoint.keras_version)
    arrays = by_role(network, checkpoint.arrays)
    accounting = Accounting.of(arrays, network)
    if not accounting.complete:
        raise accounting.error(f"{checkpoint.path.name}: its arrays are not those of its model {network.name!r}")
    return network, arrays


def by_role(network: LayerGraph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Returns a file's arrays under the table's roles: from other Kerases' names, and from Keras 3's numbers."""
    found = {}
    for name, array in arrays.items():
        path, _, role = name.rpartition("/")
        layer = network.layers.get(path)
        if layer is not None:
            roles = list(layer.weights)
            number = role.removeprefix("vars_")
            if role not in roles and number.isdigit() and int(number) < len(roles):
                role = roles[int(number)]
            elif role not in roles:
                role = ROLE_ALIASES.get(role, role)
        found[f"{path}/{role}"] = array
    return found
