"""The way back: a converted file to a Keras checkpoint, by the same rows read backwards."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.checkpoint.writing import Schema, check_container
from weight_transfer.conversion.keras_model import write_checkpoint
from weight_transfer.converted import Converted, read_converted
from weight_transfer.errors import MappingError, TransferError, listing, nearest
from weight_transfer.fingerprint import fingerprint_of
from weight_transfer.graph import Graph
from weight_transfer.input_files import protect_inputs
from weight_transfer.optimizer.state import OptimizerState, path_of_state, read_state_beside
from weight_transfer.weight_mapping import Row, mapping

NO_STATE_OF_FROZEN = "the optimizer has no state of frozen layers. Leave out --with-optimizer, or --unfreeze."
NOT_KERAS = ".num_batches_tracked"  # a counter of PyTorch's batch norms alone


def to_keras(state: Mapping[str, npt.NDArray[Any]], network: Graph) -> dict[str, npt.NDArray[np.generic]]:
    """Returns a state dict's tensors as Keras arrays by ``layer/role``.

    Args:
        state: NumPy tensors by state-dict key; ``num_batches_tracked``, which Keras has not, is left out.
        network: What the state dict belongs to.

    Raises:
        MappingError: Tensors are missing, left over or of a wrong shape.
    """
    rows = rows_of({name: tensor.shape for name, tensor in state.items()}, network)
    return {row.keras: row.to_keras(state[row.torch]) for row in rows}


def rows_of(shapes: Mapping[str, tuple[int, ...]], network: Graph) -> tuple[Row, ...]:
    """Returns the rows of a state dict's tensors, which must be exactly the network's.

    Args:
        shapes: By state-dict key; ``num_batches_tracked`` is passed over.
        network: What the state dict belongs to.

    Raises:
        MappingError: Tensors are missing, left over or of a wrong shape.
    """
    rows = mapping(network)
    needed = {row.torch: row for row in rows}
    given = {name: tuple(shape) for name, shape in shapes.items() if not name.endswith(NOT_KERAS)}
    missing = {f"missing {name}": name for name in needed if name not in given}
    extra = {f"not part of it: {name}": name for name in given if name not in needed}
    problems = [
        f"{name}: expected shape {row.torch_shape}, received {given[name]}"
        for name, row in needed.items()
        if name in given and given[name] != row.torch_shape
    ]

    def hint(line: str) -> str:
        if line in missing:
            return nearest(missing[line], list(given))
        return nearest(extra[line], list(needed)) if line in extra else ""

    if missing or extra or problems:
        shown = listing([*missing, *extra, *problems], hint)
        raise MappingError(f"the state dict is not that of {network.title}:{shown}")
    return rows


def export(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    weights_only: bool = False,
    with_optimizer: bool = False,
    unfreeze: bool = False,
    schema: Schema | None = None,
) -> Path:
    """Writes a converted file back as a Keras checkpoint, bit for bit; loads no framework.

    Args:
        source: A converted safetensors file.
        output: ``.h5``, ``.weights.h5`` or ``.keras``: the name decides the container.
        weights_only: For ``.h5``: leave the model's description out.
        with_optimizer: Write the optimizer's state too, which lies beside the source.
        unfreeze: Let all layers learn (``trainable=True``), whatever the source says.
        schema: Which Keras is to load it, ``"keras2"`` (tf_keras) or ``"keras3"``; by default the one that wrote the
            file that the source was converted from.

    Raises:
        CheckpointError: The source is no converted file.
        ArchitectureError: No Keras config of its network is known, and it is no ResNet.
        MappingError: Its tensors are not those of its architecture.
        TransferError: The output cannot be written, or no optimizer state of these weights lies beside the source.
    """
    protect_inputs([output], [source])
    check_container(output, weights_only=weights_only)
    converted = read_converted(source)
    tensors = converted.tensors()
    state = _state_of(converted, tensors) if with_optimizer else None
    description = converted.description
    if unfreeze:
        if state is not None and description.frozen:
            raise TransferError(NO_STATE_OF_FROZEN)
        description = dataclasses.replace(description, frozen=())
    arrays = to_keras(tensors, converted.network)
    write_checkpoint(output, description, arrays, weights_only=weights_only, optimizer=state, schema=schema)
    return Path(output)


def _state_of(converted: Converted, tensors: Mapping[str, npt.NDArray[Any]]) -> OptimizerState:
    saved = read_state_beside(converted)
    if saved is None:
        expected = path_of_state(converted.path).name
        raise TransferError(f"{converted.path}: no optimizer state lies beside it. Expected {expected}.")
    if saved.fingerprint != fingerprint_of(tensors.items()):
        raise TransferError(
            f"{saved.path}: the optimizer state belongs to other weights than those in {converted.path.name}. Expected "
            "both files of one conversion, or of one save."
        )
    return saved.state
