"""A weights-only file laid on the config of another file of the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.errors import MappingError, listing
from weight_transfer.families.matching import Arrays, match
from weight_transfer.families.needed import needed_arrays


def like(checkpoint: Checkpoint, other_config: Mapping[str, Any]) -> Mapping[str, str]:
    """Finds the array of each of another file's layers: by name, by counter where Keras chose the name.

    Example:
        >>> with read_checkpoint("weights.h5") as weights, read_checkpoint("model.keras") as whole:
        ...     names = like(weights, whole.config)

    Args:
        checkpoint: The file with the weights.
        other_config: The other file's `Checkpoint.config`.

    Returns:
        The file's name of every array by the config's ``layer/role``, the names of nested models before it.

    Raises:
        MappingError: The arrays are not those of the config's layers.
        ArchitectureError: The config is malformed, or has layers that cannot be imported.
    """
    matched = match(Arrays.of(checkpoint), needed_arrays(other_config))
    if matched.problems:
        raise MappingError(
            f"{checkpoint.path.name}: not the weights of model {_name(other_config)!r}. Expected every array to be "
            f"one of its layers'. Received {len(matched.problems)} that differ:{listing(matched.problems)}"
        )
    return matched.names


def _name(config: Mapping[str, Any]) -> str:
    inside = config.get("config")
    return str(inside.get("name", "")) if isinstance(inside, Mapping) else ""
