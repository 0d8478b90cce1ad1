"""The torch side of `keras_handover`: going on where Keras stopped, and how far that is from Keras going on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras_handover
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from resnet_torch import load_model
from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.optimizers import load_optimizer
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from weight_transfer import Hints
from weight_transfer.weight_mapping import mapping


def learn_as_in_float64(model: nn.Module, family: str) -> nn.Module:
    """Gives batch norms the rules of a Keras that trains in float64; see resnet_torch/comparison/port_comparison.py."""
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.moving_variance = "keras3"
            if family.startswith("tf_keras"):
                module.momentum = float(np.float32(module.momentum))
    return model


def taken_over(file: Path, family: str, hints: Hints | None = None, **said: Any) -> tuple[nn.Module, KerasOptimizer]:
    """Opens a file in PyTorch, ready to train on."""
    model = load_model(file, hints)
    optimizer = load_optimizer(file, model, hints=hints, **said)
    return learn_as_in_float64(model, family).train(), optimizer


def train(model: nn.Module, optimizer: KerasOptimizer, steps: tuple[int, int]) -> list[float]:
    """Takes the steps of the second part, on the same batches as Keras."""
    losses = []
    for x, y in keras_handover.batches(sum(steps))[steps[0] :]:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(torch.tensor(np.moveaxis(x, -1, 1))), torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def errors(model: nn.Module, optimizer: KerasOptimizer, losses: list[float], run: Any, family: str) -> dict[str, float]:
    """Largest difference over the peak of what Keras has, for loss, weights with statistics, and slots."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weights = {}
    for row in mapping(model.network):
        keras = next(name for name in run.weights if name == row.keras or name.endswith(f"/{row.keras}"))
        weights[row.keras] = (row.to_keras(state[row.torch]), run.weights[keras])
    assert len(weights) == len(run.weights)
    _, last = taken_over(run.last, family)
    return {
        "loss": _error([(np.array(losses), np.array(run.losses))]),
        "weights": _error(weights.values()),
        "slots": _error(_slots(optimizer, last)),
        "scalars": _error(_scalars(optimizer, last, family)),
    }


def _slots(actual: KerasOptimizer, expected: KerasOptimizer) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """The slots of each layer as one: those of a bias before a batch norm are zero but for rounding."""
    group, other = actual.param_groups[0], expected.param_groups[0]
    assert group["param_names"] == other["param_names"]
    layers: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, one, two in zip(group["param_names"], group["params"], other["params"], strict=True):
        assert actual.state.get(one, {}).keys() == expected.state.get(two, {}).keys()
        for slot, tensor in actual.state.get(one, {}).items():
            pair = tensor.numpy().ravel(), expected.state[two][slot].numpy().ravel()
            layers.setdefault((slot, name.rpartition(".")[0]), []).append(pair)
    assert bool(layers) == bool(actual.slots(group) or group["use_ema"])
    return [tuple(np.concatenate(side) for side in zip(*pairs, strict=True)) for pairs in layers.values()]


def _scalars(actual: KerasOptimizer, expected: KerasOptimizer, family: str) -> list[tuple[np.ndarray, np.ndarray]]:
    one, other = actual.param_groups[0], expected.param_groups[0]
    kept = ["iterations", "lr"] if family.startswith("tf_keras") else ["iterations", "lr", "u_product"]
    return [(np.array(one[key]), np.array(other[key])) for key in kept if key in one]


def _error(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    def one(actual: np.ndarray, expected: np.ndarray) -> float:
        peak = np.abs(expected).max()
        difference = np.abs(actual - expected).max()
        return float(difference / peak) if peak else float(difference)

    return max((one(*pair) for pair in pairs), default=0.0)
