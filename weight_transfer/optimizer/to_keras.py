"""An optimizer's state as a Keras file holds it: its config, and its variables in Keras's order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.graph import Graph
from weight_transfer.optimizer.classes import AVERAGE, DECAY, OUTSIDE_ROOT, RATE, SCHEDULES, Generation
from weight_transfer.optimizer.layout import Entry, entries_of
from weight_transfer.optimizer.spec import OptimizerSpec, spec_of_config
from weight_transfer.optimizer.state import LossScale, OptimizerState
from weight_transfer.optimizer.variables import Variable, layers_in_order, rows_by_layer

Arrays = Mapping[str, npt.NDArray[Any]]

FIRST_SCALE = LossScale(scale=2.0**15, good_steps=0, growth_interval=2000)  # Keras 3's defaults


@dataclass(frozen=True)
class ForKeras:
    """What goes into a file.

    Attributes:
        class_name: The optimizer's.
        arguments: Its own, in Keras's names.
        variables: Names and values, in order.
        frozen: Names of the layers that do not learn.
        loss: As what the model is compiled.
        scaled: Whether a ``LossScaleOptimizer`` is around it.
        scaling: That one's own names and values, in order; tf_keras keeps none.
    """

    class_name: str
    arguments: Mapping[str, Any]
    variables: tuple[tuple[str, npt.NDArray[Any]], ...]
    frozen: frozenset[str]
    loss: str | None
    scaled: bool = False
    scaling: tuple[tuple[str, npt.NDArray[Any]], ...] = ()

    @property
    def name(self) -> str:
        """The optimizer's own name."""
        return str(self.arguments["name"])


def for_keras3(
    state: OptimizerState,
    network: Graph,
    config: Mapping[str, Any],
    weights: Arrays,
    *,
    mixed: bool = False,
) -> ForKeras:
    """Returns the state as Keras 3 holds it.

    Args:
        state: In PyTorch's layout.
        network: The network that it belongs to.
        config: The Keras model's config, which lists the layers in Keras's order.
        weights: The network's Keras arrays by ``layer/role``.
        mixed: Whether layers compute in half precision: then Keras compiles the model with a ``LossScaleOptimizer``
            around its optimizer, also where PyTorch has trained it without.

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
    frozen, learning = _parts(state, network, config)
    for entry in entries_of(configured, configured.slots, learning):
        of = "variable" if entry.variable is None else entry.variable.row.keras.replace("/", "_")
        variables.append((f"{arguments['name']}/{of}_{entry.slot}", _value(entry, state, configured, weights)))
    scale = state.loss_scale or (FIRST_SCALE if mixed else None)
    own, scaling = tuple(variables), tuple(_scaling(scale))
    return ForKeras(configured.row.name, arguments, own, frozen, state.loss, scale is not None, scaling)


def _scaling(scale: LossScale | None) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The variables of a ``LossScaleOptimizer``: counter and rate, which mean nothing, then what it has found.

    Source: keras/src/optimizers/loss_scale_optimizer.py, build and variables, keras 3.15.1.
    """
    if scale is not None:
        yield "loss_scale_optimizer/iteration", np.array(0, np.int64)
        yield "loss_scale_optimizer/learning_rate", np.array(0.0, np.float32)
        yield "loss_scale_optimizer/step_counter", np.array(scale.good_steps, np.int32)
        yield "loss_scale_optimizer/dynamic_scale", np.array(scale.scale, np.float32)


def for_tf_keras(
    state: OptimizerState,
    network: Graph,
    config: Mapping[str, Any],
    weights: Arrays,
    *,
    mixed: bool = False,
) -> ForKeras:
    """Returns the state as tf_keras holds it; see `for_keras3`.

    It keeps the learning rate in the config, SGD's momentum also where there is none, and of a loss's scale nothing.

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
    frozen, learning = _parts(state, network, config)
    for entry in entries_of(configured, slots, learning):
        row = entry.variable.row.keras if entry.variable is not None else ""
        variables.append((f"{configured.class_name}/{entry.slot}/{row}:0", _value(entry, state, configured, weights)))
    scaled = mixed or state.loss_scale is not None
    return ForKeras(configured.row.name, arguments, tuple(variables), frozen, state.loss, scaled)


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


def _parts(state: OptimizerState, network: Graph, config: Mapping[str, Any]) -> tuple[frozenset[str], list[Variable]]:
    """Names of the frozen layers, and the weights that learn in Keras's order."""
    rows = rows_by_layer(network)
    modules = {layer: {Variable(row).module for row in own} for layer, own in rows.items()}
    ordered = [layer for layer in layers_in_order(config, rows) if layer in rows]
    known = {module for own in modules.values() for module in own}
    lost = [module for module in state.frozen if module not in known]
    parameters = {row.torch for own in rows.values() for row in own}
    lost += [name for tensors in state.slots.values() for name in tensors if name not in parameters]
    if lost:
        raise MappingError(f"the optimizer state is not that of this network. Not part of it:{listing(set(lost))}")
    frozen = frozenset(layer for layer in ordered if not modules[layer].isdisjoint(state.frozen))
    return frozen, [Variable(row) for layer in ordered if layer not in frozen for row in rows[layer]]


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
