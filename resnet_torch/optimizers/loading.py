"""A Keras optimizer's state in a PyTorch one, which goes on where Keras stopped."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from resnet_torch.batch_norm import set_trainable
from resnet_torch.model import PortedModel
from resnet_torch.optimizers.from_keras import optimizer_from_keras
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer, LearningRate
from resnet_torch.wrappers import as_array, unwrapped
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import to_torch
from weight_transfer.conversion.export import rows_of
from weight_transfer.conversion.hint_checks import refuse_said_of_converted
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.errors import MappingError, TransferError, listing, nearest
from weight_transfer.fingerprint import fingerprint_of
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.grammar import parse_optimizer
from weight_transfer.optimizer.spec import spec_of_config
from weight_transfer.optimizer.state import (
    SUFFIX,
    OptimizerState,
    path_of_state,
    read_state,
    read_state_beside,
)
from weight_transfer.pretrained_folder import weights_file
from weight_transfer.tensor_file import Tensor


def load_optimizer(
    path: str | os.PathLike[str],
    model: nn.Module,
    *,
    lr: LearningRate | None = None,
    hints: Hints | None = None,
    optimizer: str | None = None,
    any_weights: bool = False,
) -> KerasOptimizer:
    """Builds the optimizer that trained a model in Keras, as it was when Keras saved it.

    Class, arguments, step count, learning rate or schedule, and every slot. Layers that were frozen in Keras are
    frozen in ``model`` too: no gradients, batch norms in inference mode. The optimizer holds all of the model's
    parameters by name, frozen ones included.

    Args:
        path: A file that ``weight-transfer convert --with-optimizer`` or `save_converted` wrote, with the optimizer
            beside it or the optimizer's own; or the Keras checkpoint itself.
        model: What `load_model` gave for the same file, on any device, not yet trained on.
        lr: A rate or schedule in place of Keras's.
        hints: For a Keras checkpoint, what its file does not show.
        optimizer: For a Keras checkpoint, what it does not say of its optimizer: ``"Adam(learning_rate=1e-4)"``.
        any_weights: Do not ask whether the model still has the weights that the state belongs to.

    Raises:
        TransferError: There is no optimizer state, it is one of other weights or of another network, or its class is
            not known.

    Example:
        >>> model = load_model("resnet50.keras").train()
        >>> optimizer = load_optimizer("resnet50.keras", model)
        >>> loss(model(x), y).backward()
        >>> optimizer.step()  # the step that Keras would have taken
    """
    bare = unwrapped(model)
    state, fingerprint = _state_and_fingerprint(Path(path), hints, optimizer)
    parameters = dict(bare.named_parameters())
    _check_parameters(Path(path), state, parameters, bare)
    if not any_weights and fingerprint not in _fingerprints(bare):
        raise TransferError(
            f"{path}: the optimizer state belongs to other weights than the model has now. Load the model from the "
            "file that lies beside it, and the optimizer before the first step; or pass any_weights=True."
        )
    _freeze(bare, state)
    arguments = dict(state.config.get("config") or {})
    if state.learning_rate is not None:
        arguments["learning_rate"] = state.learning_rate
    built = optimizer_from_keras({**state.config, "config": arguments}, bare.named_parameters(), lr)
    fill(built, state, parameters)
    return built


def load_grad_scaler(path: str | os.PathLike[str], device: str = "cuda") -> torch.amp.GradScaler | None:
    """Builds the scaler of a loss that Keras trained with a ``LossScaleOptimizer``; None where it had none.

    Args:
        path: As for `load_optimizer`.
        device: That the scaler is for.

    Raises:
        TransferError: There is no optimizer state.
    """
    found = _state_and_fingerprint(Path(path), None, None)[0].loss_scale
    if found is None:
        return None
    scaler = torch.amp.GradScaler(device, init_scale=found.scale, growth_interval=found.growth_interval)
    if scaler.is_enabled():  # Keras doubles and halves, as this does by default
        scaler.load_state_dict({**scaler.state_dict(), "_growth_tracker": found.good_steps})
    return scaler


def _state_and_fingerprint(path: Path, hints: Hints | None, optimizer: str | None) -> tuple[OptimizerState, str]:
    if is_converted(path):
        refuse_said_of_converted(path, hints=hints, optimizer=optimizer)
        saved = read_state(path) if path.name.endswith(SUFFIX) else read_state_beside(read_converted(path))
        if saved is None:
            expected = path_of_state(weights_file(path)).name
            raise TransferError(
                f"{path}: no optimizer state lies beside it. Expected {expected}: convert with --with-optimizer, or "
                "save with save_converted(..., optimizer=...)."
            )
        return saved.state, saved.fingerprint
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint, hints)
        bad: list[str] = []
        state = read_optimizer_state(checkpoint, identified, parse_optimizer(optimizer), (hints or Hints()).like, bad)
        tensors = tuple(Tensor.of(tensor.name, tensor.read()) for tensor in state.tensors)  # its file is about to close
        if bad:
            raise MappingError(f"{path.name}: values no trained network has:{listing(bad)}")
        return dataclasses.replace(state, tensors=tensors), fingerprint_of(to_torch(identified, path).items())


def _check_parameters(
    path: Path, state: OptimizerState, parameters: Mapping[str, nn.Parameter], model: PortedModel
) -> None:
    """Every slot has its parameter, and every parameter that learns all slots that the optimizer keeps."""
    known = list(parameters)
    problems = []
    for slot, tensors in state.slots.items():
        for name, tensor in tensors.items():
            if name not in parameters:
                problems.append(f"{slot} of {name}: the model has no such parameter{nearest(name, known)}")
            elif tuple(parameters[name].shape) != tensor.shape:
                problems.append(f"{slot} of {name}: {tensor.shape}, the parameter {tuple(parameters[name].shape)}")
    learning = [name for name in known if name.rpartition(".")[0] not in state.frozen]
    if state.tensors or state.iterations:
        needed = [slot.name for slot in spec_of_config(state.config).slots]
        there = {tensor.name for tensor in state.tensors}
        problems += [
            f"{slot} of {name}: missing" for slot in needed for name in learning if f"{slot}/{name}" not in there
        ]
    problems += [f"{name}: frozen, and not in the model" for name in state.frozen if not _has_module(model, name)]
    if problems:
        network = model.network.title or "this network"
        raise MappingError(f"{path}: its optimizer state is not that of {network}:{listing(problems)}")


def _has_module(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _fingerprints(model: PortedModel) -> Iterator[str]:
    """Of the model's weights as they are, and as they were before `double()` or `float()` widened them."""
    state = model.state_dict()
    rows = rows_of({name: tuple(tensor.shape) for name, tensor in state.items()}, model.network)
    arrays = {row.torch: as_array(state[row.torch]) for row in rows}
    yield fingerprint_of(arrays.items())
    for dtype in (np.float32, np.float16):
        if all(array.dtype.itemsize > np.dtype(dtype).itemsize for array in arrays.values()):
            with np.errstate(over="ignore"):
                yield fingerprint_of((name, array.astype(dtype)) for name, array in arrays.items())


def _freeze(model: PortedModel, state: OptimizerState) -> None:
    for path in state.frozen:
        set_trainable(model.get_submodule(path), False, model.training)


@torch.no_grad()
def fill(optimizer: KerasOptimizer, state: OptimizerState, parameters: Mapping[str, nn.Parameter]) -> None:
    """Gives an optimizer the slots and the step count of a state.

    Args:
        optimizer: Of the state's class and arguments.
        state: Each of its slots is of a parameter that is here.
        parameters: By name.
    """
    for slot, tensors in state.slots.items():
        for name, tensor in tensors.items():
            param = parameters[name]
            # In the parameter's own layout in memory, which the fused kernels look at.
            optimizer.state[param][slot] = torch.empty_like(param).copy_(torch.from_numpy(tensor.read()))
    schedule = optimizer.defaults["lr"]
    for group in optimizer.param_groups:
        group["iterations"] = state.iterations
        if callable(schedule):
            group["lr"] = float(schedule(max(state.iterations - 1, 0)))
        if state.u_product is not None and "u_product" in group:
            group["u_product"] = state.u_product
