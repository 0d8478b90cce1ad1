"""A weights-only file laid on the graph of another file of the same model."""

from __future__ import annotations

from collections.abc import Mapping

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.errors import MappingError, listing
from weight_transfer.families.array_matches import Arrays, match, nearest_layer
from weight_transfer.families.needed import needed_arrays
from weight_transfer.graph import Graph


def like(checkpoint: Checkpoint, keras: Graph) -> Mapping[str, str]:
    """Finds the array of each of another file's layers: by name, by counter where Keras chose the name.

    Example:
        >>> with read_checkpoint("weights.h5") as weights, read_checkpoint("model.keras") as whole:
        ...     names = like(weights, read_graph(whole.config))

    Args:
        checkpoint: The file with the weights.
        keras: The graph of the other file's model.

    Returns:
        The file's name of every array by the graph's ``layer/role``, the names of nested models before it.

    Raises:
        MappingError: The arrays are not those of the graph's layers.
        ArchitectureError: The graph has layers that cannot be imported.
    """
    arrays = Arrays.of(checkpoint)
    matched = match(arrays, needed_arrays(keras))
    if matched.problems:
        shown = listing(matched.problems, lambda problem: nearest_layer(arrays, problem))
        raise MappingError(
            f"{checkpoint.path.name}: not the weights of model {keras.name!r}. Expected every array to be "
            f"one of its layers'. Received {len(matched.problems)} that differ:{shown}"
        )
    return matched.names
