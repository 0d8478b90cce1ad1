"""The torch side of `keras_optimizers`: the same steps, and how far they are from Keras's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from resnet_torch import optimizers, schedules

SHAPES = ((3, 3, 2, 4), (7,), (5, 6), ())
RULES = {
    "SGD": ("SGD", {}),
    "SGD momentum": ("SGD", {"momentum": 0.9}),
    "SGD nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "RMSprop": ("RMSprop", {}),
    "RMSprop momentum": ("RMSprop", {"momentum": 0.9}),
    "RMSprop centered": ("RMSprop", {"centered": True}),
    "RMSprop both": ("RMSprop", {"momentum": 0.7, "centered": True}),
    "Adam": ("Adam", {}),
    "Adam amsgrad": ("Adam", {"amsgrad": True}),
    "AdamW": ("AdamW", {}),
    "Adamax": ("Adamax", {}),
    "Nadam": ("Nadam", {}),
    "Adagrad": ("Adagrad", {}),
}
WARMUP = ("CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 15, "warmup_target": 0.1, "warmup_steps": 4})
EXTRAS = {
    "plain": {},
    "clipnorm": {"clipnorm": 1.3},
    "global_clipnorm": {"global_clipnorm": 2.0},
    "clipvalue": {"clipvalue": 0.4},
    "weight_decay": {"weight_decay": 0.05},
    "schedule": {"learning_rate": WARMUP},
    "ema": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7},
}
RENAMED = {"learning_rate": "lr", "epsilon": "eps", "rho": "alpha"}


def drawn(seed: int = 1, num_steps: int = 20, dtype: str = "float64", shapes=SHAPES, scale: float = 1.0):
    """Weights, and per step their gradients, each variable's ten times larger than the last one's."""
    random = np.random.default_rng(seed)
    weights = [np.asarray(random.normal(size=shape), dtype) for shape in shapes]
    gradients = [
        [np.asarray(random.normal(size=shape) * scale * 10.0 ** (i - 2), dtype) for i, shape in enumerate(shapes)]
        for _ in range(num_steps)
    ]
    return weights, gradients


def as_float64(weights, gradients):
    """The same numbers, to compute with in float64."""
    return (
        [weight.astype(np.float64) for weight in weights],
        [[gradient.astype(np.float64) for gradient in step] for step in gradients],
    )


def torch_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keras's arguments in torch's names."""
    found = {RENAMED.get(name, name): value for name, value in arguments.items()}
    if "beta_1" in found:
        found["betas"] = found.pop("beta_1"), found.pop("beta_2")
    if isinstance(found.get("lr"), tuple):
        name, own = found["lr"]
        found["lr"] = getattr(schedules, name)(**own)
    return found


def torch_steps(make, weights, gradients) -> dict[str, Any]:
    """As `keras_optimizers.keras3`, with the optimizer that ``make`` makes of the parameters."""
    params = [nn.Parameter(torch.tensor(value)) for value in weights]
    optimizer = make(params)
    weights_after, slots_after = [], []
    for step in gradients:
        for param, grad in zip(params, step, strict=True):
            param.grad = None if grad is None else torch.tensor(grad)
        optimizer.step()
        weights_after.append([param.detach().numpy().copy() for param in params])
        slots_after.append([{name: slot.numpy().copy() for name, slot in optimizer.state[p].items()} for p in params])
    slots = {name: [[slot[name] for slot in now] for now in slots_after] for name in slots_after[-1][0]}
    optimizer.finalize_variable_values()
    finalized = [param.detach().numpy() for param in params]
    return {"weights": weights_after, "slots": slots, "finalized": finalized, "optimizer": optimizer}


def ours(name: str, arguments: dict[str, Any], weights, gradients) -> dict[str, Any]:
    """`torch_steps` of an optimizer named as Keras names it, with Keras's arguments."""
    kind, own = getattr(optimizers, name), torch_arguments(arguments)
    return torch_steps(lambda params: kind(params, **own), weights, gradients)


def errors(actual: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """Largest difference over all steps, of the weights and of each slot, in units of each variable's peak."""
    found = {"weights": _error(actual["weights"], expected["weights"])}
    for name, history in expected["slots"].items():
        if name in actual["slots"]:
            found[name] = _error(actual["slots"][name], history)
    if "finalized" in expected:
        found["finalized"] = _error([actual["finalized"]], [expected["finalized"]])
    return found


def _error(actual, expected) -> float:
    """Of histories: per step, one array per variable."""
    worst = 0.0
    for one, other in zip(zip(*actual, strict=True), zip(*expected, strict=True), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert one.shape == other.shape
        peak = np.abs(other).max()
        worst = max(worst, float(np.abs(one - other).max() / peak) if peak else float(np.abs(one).max()))
    return worst
