"""Optimizer states made up without a framework, and checkpoints that hold them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np

from weight_transfer.architecture import Architecture
from weight_transfer.optimizer.spec import spec_of_config
from weight_transfer.optimizer.state import OptimizerState
from weight_transfer.optimizer.variables import rows_by_layer
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor


def tiny(dialect: str = "tutorial", **arguments: Any) -> Architecture:
    """The smallest network with a projection and a stride: two basic blocks."""
    small = {"block": "basic", "block_counts": (1, 1), "filters": ((4, 4), (6, 6)), **arguments}
    return checkpoints.small(dialect, **small)


def state_of(
    architecture: Architecture,
    name: str = "Adam",
    arguments: dict[str, Any] | None = None,
    frozen: tuple[str, ...] = (),
    **fields: Any,
) -> OptimizerState:
    """A state whose numbers all differ; ``frozen`` are PyTorch modules."""
    config = {"class_name": name, "config": {"name": name.lower(), **(arguments or {})}}
    random = np.random.default_rng(5)
    tensors = tuple(
        Tensor.of(f"{slot.name}/{row.torch}", random.uniform(0.1, 1, row.torch_shape).astype("float32"))
        for slot in spec_of_config(config).slots
        for rows in rows_by_layer(resnet_graph(architecture)).values()
        for row in rows
        if row.torch.rpartition(".")[0] not in frozen
    )
    values = {"iterations": 7, "learning_rate": 0.25, "tensors": tensors, "frozen": frozen, **fields}
    return OptimizerState(name, config, **values)


def written(
    path: Path, architecture: Architecture | None = None, state: OptimizerState | None = None, **of_state: Any
) -> tuple[Path, OptimizerState]:
    """A Keras checkpoint with weights and an optimizer; the name picks the container."""
    architecture = architecture or tiny()
    state = state or state_of(architecture, **of_state)
    checkpoints.write_checkpoint(path, architecture, checkpoints.arrays_of(architecture), optimizer=state)
    return path, state


def numbers(state: OptimizerState) -> dict[str, np.ndarray]:
    """All slots by name."""
    return {tensor.name: tensor.read() for tensor in state.tensors}


def assert_same(actual: OptimizerState, expected: OptimizerState) -> None:
    """Everything that a step depends on."""
    one, other = numbers(actual), numbers(expected)
    assert one.keys() == other.keys()
    for name, array in other.items():
        np.testing.assert_array_equal(one[name], array, err_msg=name)
    for name in ("class_name", "iterations", "learning_rate", "u_product"):
        assert getattr(actual, name) == getattr(expected, name), name
    assert set(actual.frozen) == set(expected.frozen)


def without(state: OptimizerState, *names: str) -> OptimizerState:
    """The state with some tensors left out."""
    return dataclasses.replace(state, tensors=tuple(t for t in state.tensors if t.name not in names))
