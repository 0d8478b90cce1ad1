"""An optimizer's state as a Keras file holds it: its config, and its variables in Keras's order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer import graph
from weight_transfer.architecture import Architecture
from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.optimizer.classes import AVERAGE, DECAY, OUTSIDE_ROOT, RATE, SCHEDULES, Generation
from weight_transfer.optimizer.layout import Entry, entries_of
from weight_transfer.optimizer.spec import OptimizerSpec, spec_of_config
from weight_transfer.optimizer.state import OptimizerState
from weight_transfer.optimizer.variables import Variable, rows_by_layer

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ForKeras:
    """What goes into a file.

    Attributes:
        class_name: The optimizer's.
        arguments: Its own, in Keras's names.
        variables: Names and values, in order.
        frozen: Names of the layers that do not learn.
        loss: As what the model is compiled.
    """

    class_name: str
    arguments: Mapping[str, Any]
    variables: tuple[tuple[str, npt.NDArray[Any]], ...]
    frozen: frozenset[str]
    loss: str | None

    @property
    def name(self) -> str:
        """The optimizer's own name."""
        return str(self.arguments["name"])


def for_keras3(state: OptimizerState, architecture: Architecture, weights: Arrays) -> ForKeras:
    """Returns the state as Keras 3 holds it.

    Args:
        state: In PyTorch's layout.
        architecture: The network that it belongs to.
        weights: Its Keras arrays by ``layer/role``.

    Raises:
        MappingError: The state is one of another network.
        TransferError: Keras 3 has no such optimizer.
    """
    configured = _configured(state, "keras3")
    arguments = _arguments(state, configured)
    rate = state.learning_rate or 0.0
    number = np.float32 if float(np.float32(rate)) == rate else np.float64
    variables = [(f"{arguments['name']}/iteration", np.array(state.iterations, np.int64))]
    if configured.schedule is None:
        variables.append((f"{arguments['name']}/learning_rate", np.array(rate, number)))
    else:
        arguments["learning_rate"] = {
            "module": "keras.optimizers.schedules",
            **arguments["learning_rate"],
            "registered_name": None,
        }
    frozen, learning = _parts(state, architecture)
    for entry in entries_of(configured, configured.slots, learning):
        of = "variable" if entry.variable is None else entry.variable.row.keras.replace("/", "_")
        variables.append((f"{arguments['name']}/{of}_{entry.slot}", _value(entry, state, configured, weights)))
    return ForKeras(configured.row.name, arguments, tuple(variables), frozen, state.loss)


def for_tf_keras(state: OptimizerState, architecture: Architecture, weights: Arrays) -> ForKeras:
    """Returns the state as tf_keras holds it; see `for_keras3`.

    It keeps the learning rate in the config, and SGD's momentum also where there is none.

    Raises:
        MappingError: The state is one of another network.
        TransferError: tf_keras has no such optimizer, or could not go on with it from a file.
    """
    configured = _configured(state, "tf_keras")
    if configured.class_name == "Nadam" and state.iterations:
        raise TransferError(
            "tf_keras keeps no product of Nadam's momentum in a file, and would go on otherwise than it stopped. Write "
            "a .keras or .weights.h5 file for Keras 3."
        )
    arguments = _arguments(state, configured)
    slots = configured.row.slots if configured.class_name == "SGD" else ()
    slots = (*configured.slots, *(slot for slot in slots if slot not in configured.slots))
    variables = [("iteration:0", np.array(state.iterations, np.int64))]
    frozen, learning = _parts(state, architecture)
    for entry in entries_of(configured, slots, learning):
        row = entry.variable.row.keras if entry.variable is not None else ""
        variables.append((f"{configured.class_name}/{entry.slot}/{row}:0", _value(entry, state, configured, weights)))
    return ForKeras(configured.row.name, arguments, tuple(variables), frozen, state.loss)


def compile_config(optimizer: ForKeras) -> dict[str, Any]:
    """Returns what a ``.keras`` file says of how its model is compiled.

    Source: get_compile_config in keras/src/trainers/trainer.py, keras 3.15.1.
    """
    serialized = {
        "module": "keras.optimizers",
        "class_name": optimizer.class_name,
        "config": dict(optimizer.arguments),
        "registered_name": None,
    }
    return {"optimizer": serialized, "loss": optimizer.loss, "loss_weights": None, "metrics": None}


def training_config(optimizer: ForKeras) -> dict[str, Any]:
    """Returns what a legacy file says of it.

    Source: model_metadata in tf_keras/src/saving/legacy/saving_utils.py, tf_keras 2.21.0.
    """
    # Without "Custom>" tf_keras takes it for one of its legacy classes.
    serialized = {"class_name": f"Custom>{optimizer.class_name}", "config": dict(optimizer.arguments)}
    compiled = {"loss": optimizer.loss, "metrics": None, "weighted_metrics": None, "loss_weights": None}
    return {**compiled, "optimizer_config": serialized}


def _configured(state: OptimizerState, generation: Generation) -> OptimizerSpec:
    spec = spec_of_config(state.config)
    if spec.arguments.get(OUTSIDE_ROOT) or spec.arguments.get(DECAY):
        what = "adds epsilon outside the root" if spec.arguments.get(OUTSIDE_ROOT) else "has an argument decay"
        raise TransferError(
            f"this {spec.class_name} is Keras 2's, which {what}; Keras of today has no such optimizer. Write the "
            "weights without it, or train on with an optimizer of resnet_torch.optimizers that has Keras 3's arguments."
        )
    if spec.schedule is not None and spec.schedule.row is None:
        raise TransferError(
            f"the learning rate is a function, {spec.schedule.class_name!r}, which no Keras file holds. Expected "
            f"a number, or one of {', '.join(SCHEDULES)}."
        )
    return dataclasses.replace(spec, generation=generation)


def _arguments(state: OptimizerState, spec: OptimizerSpec) -> dict[str, Any]:
    given = {**spec.arguments, "name": spec.arguments.get("name") or spec.row.name.lower()}
    if state.learning_rate is not None:
        given[RATE] = state.learning_rate
    elif spec.schedule is not None:
        given[RATE] = spec.schedule.to_config()
    return {name: given[name] for name in spec.row.defaults(spec.generation) if name in given}  # in Keras's order


def _parts(state: OptimizerState, architecture: Architecture) -> tuple[frozenset[str], list[Variable]]:
    """Names of the frozen layers, and the weights that learn in Keras's order."""
    rows = rows_by_layer(architecture)
    ordered = [layer for layer in graph.keras_order(graph.layers(architecture)) if layer.name in rows]
    modules = {layer.module for layer in ordered}
    lost = [module for module in state.frozen if module not in modules]
    parameters = {row.torch for own in rows.values() for row in own}
    lost += [name for tensors in state.slots.values() for name in tensors if name not in parameters]
    if lost:
        raise MappingError(f"the optimizer state is not that of this network. Not part of it:{listing(set(lost))}")
    frozen = frozenset(layer.name for layer in ordered if layer.module in state.frozen)
    return frozen, [Variable(row) for layer in ordered if layer.name not in frozen for row in rows[layer.name]]


def _value(entry: Entry, state: OptimizerState, configured: OptimizerSpec, weights: Arrays) -> npt.NDArray[Any]:
    """A slot's numbers; where the state has none, what Keras starts from."""
    if entry.variable is None:
        dtype = next(iter(weights.values())).dtype
        return np.array(1.0 if state.u_product is None else state.u_product, dtype)
    row = entry.variable.row
    tensor = state.slots.get(entry.slot, {}).get(row.torch)
    if tensor is not None:
        if tensor.shape != row.torch_shape:
            raise MappingError(
                f"{entry.slot} of {row.torch}: expected shape {row.torch_shape}, received {tensor.shape}"
            )
        return row.to_keras(tensor.read())
    if entry.slot in state.slots:
        raise MappingError(f"{entry.slot} of {row.torch}: missing")
    weight = weights[row.keras]
    if entry.slot == AVERAGE.name:
        return weight
    first = configured.value("initial_accumulator_value") if entry.slot == "accumulator" else 0.0
    return np.full(row.shape, np.float32(first), weight.dtype)
