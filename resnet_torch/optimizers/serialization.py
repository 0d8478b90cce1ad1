"""A live optimizer in Keras's words, with all that it knows: what a file of its state holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resnet_torch.model import PortedModel
from resnet_torch.optimizers.from_keras import OPTIMIZER_CLASSES
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.schedules import SCHEDULE_CLASSES, Keras2Decay
from resnet_torch.trainability import frozen_layers_of
from resnet_torch.wrappers import tensor_to_write, unwrapped
from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.optimizer.classes import DECAY, NEVER_NEGATIVE, OPTIMIZERS, OUTSIDE_ROOT, RATE
from weight_transfer.optimizer.state import OptimizerState
from weight_transfer.optimizer.variables import rows_by_layer
from weight_transfer.tensor_file import Tensor as Written

PER_GROUP = (
    "params",
    "param_names",
    "lr",
    "initial_lr",
    "iterations",
    "u_product",
)  # what may differ, or is no argument


def describe_optimizer(optimizer: KerasOptimizer, model: nn.Module) -> OptimizerState:
    """Returns an optimizer's state as a file holds it.

    Args:
        optimizer: Of this package, over parameters of ``model``, all that learn among them.
        model: A `ResNet` or an `ImportedModel`, also compiled or data-parallel.

    Raises:
        MappingError: It is not this model's optimizer, its slots hold what is not finite, or a layer is
            frozen in a way that Keras does not have.
        TransferError: It is not one of this package, or its parameter groups differ, which Keras's cannot.
    """
    kind = next((name for name, kind in OPTIMIZER_CLASSES.items() if type(optimizer) is kind), None)
    if kind is None:
        raise TransferError(
            f"a {type(optimizer).__name__} is no optimizer that Keras has. Expected one of resnet_torch.optimizers: "
            f"{', '.join(OPTIMIZER_CLASSES)}."
        )
    bare = unwrapped(model)
    group = _common(optimizer)
    frozen = _frozen(bare)
    tensors = tuple(_tensors(optimizer, group, dict(bare.named_parameters()), frozen))
    rate = None if callable(optimizer.defaults["lr"]) else float(group["lr"])
    return OptimizerState(
        class_name=kind,
        config={"class_name": kind, "config": _arguments(kind, optimizer, group)},
        iterations=int(group["iterations"]),
        learning_rate=rate,
        tensors=tensors,
        frozen=frozen,
        u_product=group.get("u_product"),
    )


def _common(optimizer: KerasOptimizer) -> Mapping[str, Any]:
    """The arguments of all groups, which Keras has once."""
    groups = [group for group in optimizer.param_groups if group["params"]]
    first = groups[0]
    differing = {
        name for group in groups for name in first if name not in PER_GROUP[:2] and group.get(name) != first[name]
    }
    if differing:
        raise TransferError(
            f"the optimizer's parameter groups differ in {', '.join(sorted(differing))}, and Keras has one setting for "
            "all weights (what it excludes from weight decay it does not save). Give all groups the same."
        )
    return first


def _frozen(model: PortedModel) -> tuple[str, ...]:
    """Paths of the modules that hold the parameters of frozen layers."""
    rows = rows_by_layer(model.network)
    frozen = [row.torch.rpartition(".")[0] for layer in frozen_layers_of(model) for row in rows.get(layer, ())]
    return tuple(dict.fromkeys(frozen))


def _tensors(
    optimizer: KerasOptimizer, group: Mapping[str, Any], parameters: Mapping[str, nn.Parameter], frozen: tuple[str, ...]
) -> Iterable[Written]:
    owned = {id(parameter) for one in optimizer.param_groups for parameter in one["params"]}
    strangers = owned - {id(parameter) for parameter in parameters.values()}
    learning = {name for name in parameters if name.rpartition(".")[0] not in frozen}
    lost = sorted(name for name in learning if parameters[name].requires_grad and id(parameters[name]) not in owned)
    if strangers or lost:
        problems = [f"{name}: learns, and the optimizer does not have it" for name in lost]
        problems += [f"{len(strangers)} of the optimizer's parameters are not the model's"] if strangers else []
        raise MappingError(f"the optimizer is not that of the model:{listing(problems)}")
    slots = {**({"average": None} if group["use_ema"] else {}), **optimizer.slots(group)}
    bad: list[str] = []
    written = []
    for name, parameter in parameters.items():
        kept = optimizer.state.get(parameter, {})
        for slot, first in slots.items():
            if slot not in kept and name not in learning:
                continue
            tensor = kept.get(slot, parameter.detach() if first is None else None)
            if tensor is None:  # never had a gradient: Keras's starts like this
                tensor = torch.full_like(parameter, float(first or 0.0), dtype=torch.float32).to(parameter.dtype)
            _check(f"{slot} of {name}", slot, tensor, bad)
            written.append(tensor_to_write(f"{slot}/{name}", tensor))
    if bad:
        raise MappingError(f"values no optimizer has:{listing(bad)}\nNothing was written; earlier files are unchanged.")
    return written


def _check(where: str, slot: str, tensor: Tensor, bad: list[str]) -> None:
    if not bool(torch.isfinite(tensor).all()):
        bad.append(f"{where}: not finite")
    elif slot in NEVER_NEGATIVE and bool((tensor < 0).any()):
        bad.append(f"{where}: negative, which no step makes it")


def _arguments(kind: str, optimizer: KerasOptimizer, group: Mapping[str, Any]) -> dict[str, Any]:
    """Keras's arguments by Keras's names."""
    found: dict[str, Any] = {}
    taken: dict[str, int] = {}
    for argument in OPTIMIZERS[kind].arguments:
        if argument.effect == "rule" and argument.name not in (RATE, DECAY):
            name, value = argument.torch_name, group[argument.torch_name]
            found[argument.name] = value[taken.get(name, 0)] if isinstance(value, tuple | list) else value
            taken[name] = taken.get(name, 0) + 1
    if not found.get(OUTSIDE_ROOT):  # Keras has no such argument
        found.pop(OUTSIDE_ROOT, None)
    if group["use_ema"] and group["ema_rule"] == "tf_keras":
        found["jit_compile"] = False  # by which its config is known
    return {"name": kind.lower(), **found, **_rate(optimizer.defaults["lr"], float(group["lr"]))}


def _rate(lr: Any, current: float) -> dict[str, Any]:
    if isinstance(lr, Keras2Decay) and not callable(lr.lr):
        return {RATE: lr.lr, DECAY: lr.decay}
    if not callable(lr):
        return {RATE: current}
    name = type(lr).__name__
    arguments = {}
    if type(lr) is SCHEDULE_CLASSES.get(name) and dataclasses.is_dataclass(lr):
        arguments = {field.name: getattr(lr, field.name) for field in dataclasses.fields(lr)}
        arguments.pop("in_fit")
        arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    return {RATE: {"class_name": name, "config": arguments}}
