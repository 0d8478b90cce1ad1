"""The torch side of `keras_owner_steps`: the same steps, and how far they are from the owner's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_owner_steps
import numpy as np
import torch
from handover import learn_as_in_float64
from torch import Tensor, nn

from resnet_torch import load_model
from resnet_torch.losses import loss_from_keras
from resnet_torch.optimizers import SGD
from resnet_torch.regularizers import regularization
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import convert
from weight_transfer.weight_mapping import mapping

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
BOUNDS = {"float32": 1e-4, "float64": 1e-10}


def first(array: np.ndarray) -> np.ndarray:
    """With the channels first, as PyTorch has them."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if array.ndim > 2 else array


def errors(
    source: Path,
    owner: keras_owner_steps.Owner,
    *,
    memory: str = "contiguous",
    through: Path | None = None,
    family: str = "keras",
    change: Callable[[nn.Module], nn.Module] = lambda model: model,
    make: Callable[[Any], torch.optim.Optimizer] | None = None,
) -> dict[str, float]:
    """Takes the owner's steps with the port of a file; largest differences over the peak of what Keras has.

    Args:
        source: The file.
        owner: What Keras has.
        memory: How images and kernels lie in memory.
        through: A converted file to go through.
        family: Which Keras trained.
        change: What is done to the port first.
        make: Makes the optimizer of the parameters; else our SGD at the owner's rate.
    """
    with read_checkpoint(source) as checkpoint:
        training = checkpoint.training
    if through is not None:
        convert(source, through)
    model = change(load_model(through or source)).to(memory_format=FORMATS[memory])
    dtype = owner.inputs[0].dtype
    if dtype == np.float64:
        learn_as_in_float64(model, family)
    inputs = [_laid_out(torch.from_numpy(first(array)), memory) for array in owner.inputs]
    found = {"before": _error(_listed(model.predict(*inputs)), owner.before)}
    loss, penalty = loss_from_keras(training, model.network), regularization(model)
    optimizer = (make or (lambda parameters: SGD(parameters, lr=keras_owner_steps.RATE)))(model.parameters())
    model.train()
    losses = []
    for _ in range(keras_owner_steps.STEPS):
        optimizer.zero_grad()
        value = loss(model(*inputs), _targets(owner.targets)) + penalty()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    found["losses"] = _error([torch.tensor(losses, dtype=torch.float64)], [np.array(owner.losses)])
    model.eval()
    found["weights"] = weights_error(model, owner)
    found["after"] = _error(_listed(model.predict(*inputs)), owner.after)
    return found


def weights_error(model: nn.Module, owner: keras_owner_steps.Owner) -> float:
    """Of every array, the statistics included."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    rows = {row.keras: row.to_keras(state[row.torch]) for row in mapping(model.network)}
    theirs = {name.replace("depthwise/depthwise_", "depthwise/"): array for name, array in owner.weights.items()}
    assert {name for name in theirs if "seed" not in name} == set(rows)
    return _error([torch.from_numpy(rows[name].copy()) for name in rows], [theirs[name] for name in rows], moved=False)


def _laid_out(tensor: Tensor, memory: str) -> Tensor:
    return tensor.contiguous(memory_format=FORMATS[memory]) if tensor.ndim == 4 else tensor


def _targets(targets: Any) -> Any:
    if isinstance(targets, Mapping):
        return {key: torch.from_numpy(first(array)) for key, array in targets.items()}
    listed = [torch.from_numpy(first(array)) for array in targets]
    return listed[0] if len(listed) == 1 else listed


def _listed(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Mapping):
        return [outputs[key] for key in sorted(outputs)]
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _error(actual: list[Tensor], expected: list[np.ndarray], moved: bool = True) -> float:
    worst = 0.0
    for one, other in zip(actual, expected, strict=True):
        wanted = first(other) if moved else other
        worst = max(worst, float(np.abs(one.numpy() - wanted).max() / max(np.abs(wanted).max(), 1e-3)))
    return worst
