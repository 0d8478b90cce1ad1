"""Keras's constraints: what weights are made to be after each step of the optimizer.

As in Keras, a constraint belongs to the weight, and the optimizer applies it: each of `resnet_torch.optimizers` does
so by itself, for any other `apply_constraints` does. `load_model` gives the weights the constraints of their file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from weight_transfer.conversion.constraints import Constraint, constrained_weights
from weight_transfer.description import Description
from weight_transfer.errors import TransferError, listing, nearest
from weight_transfer.layer_types import Weight

Projection: TypeAlias = Callable[[Tensor], Tensor]
# Source: Keras 3.15.1 keras/src/backend/config.py, epsilon.
EPSILON = 1e-7
ATTRIBUTE = "constraint"  # of a parameter, as of Keras's variables
KEPT = "constraints"  # of a module, by its parameters' names: a copied parameter loses its attributes


@dataclass(frozen=True)
class KerasProjection:
    """A constraint of Keras as a function of the weight.

    Args:
        constraint: Which, along which axes; the error that refuses it where it is none that is known.
        weight: How Keras lays the weight out, whose axes those are; None for the axes of the tensor here.

    Source: Keras 3.15.1 keras/src/constraints/constraints.py; tf_keras 2.21 constraints.py computes the same.
    """

    constraint: Constraint | TransferError
    weight: Weight | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        """Returns the nearest weight that the constraint allows, as Keras finds it.

        Raises:
            TransferError: The constraint is none that is known.
        """
        if isinstance(self.constraint, TransferError):
            raise TransferError(f"A weight that is trained must keep to a constraint: {self.constraint}")
        if self.weight is None:
            return _projected(tensor, self.constraint)
        axes = range(len(self.weight.shape)) if self.weight.axes is None else self.weight.axes
        moved = tensor.reshape([self.weight.shape[axis] for axis in axes])
        found = _projected(moved.permute(*np.argsort(axes).tolist()), self.constraint)
        return found.permute(*axes).reshape(tensor.shape)


def _projected(weight: Tensor, constraint: Constraint) -> Tensor:
    """The weight in the layout that the constraint's axes are of."""
    if constraint.kind == "NonNeg":
        return weight.clamp(min=0)
    axes = tuple(range(weight.ndim)) if constraint.axis is None else constraint.axis
    norms = weight.square().sum(axes, keepdim=True).sqrt()
    if constraint.kind == "UnitNorm":
        return weight / (EPSILON + norms)
    if constraint.kind == "MaxNorm":
        wanted = norms.clamp(0, constraint.max_value)
    else:
        within = norms.clamp(constraint.min_value, constraint.max_value)
        wanted = constraint.rate * within + (1 - constraint.rate) * norms
    return weight * (wanted / (EPSILON + norms))


def constrain(model: nn.Module, constraints: Mapping[str, Projection]) -> None:
    """Gives parameters constraints, which the optimizers of `resnet_torch` apply after each step.

    Args:
        model: The module.
        constraints: By parameter, such as ``{"fc.weight": KerasProjection(Constraint("MaxNorm", max_value=2))}``,
            or any function from a weight to a weight.

    Raises:
        TransferError: The model has no such parameter.
    """
    parameters = dict(model.named_parameters())
    unknown = [f"{name}{nearest(name, list(parameters))}" for name in constraints if name not in parameters]
    if unknown:
        raise TransferError(f"Constraints of parameters that the model has not:{listing(unknown)}")
    for name, projection in constraints.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        module.__dict__[KEPT] = {**module.__dict__.get(KEPT, {}), leaf: projection}
    renew_constraints(model)


def constrain_as_described(model: nn.Module, description: Description) -> None:
    """Gives a network's parameters the constraints of its Keras layers.

    Raises:
        TransferError: A constraint is of a weight that the network has not.
    """
    found = constrained_weights(description.network, description.constraints)
    constrain(model, {name: KerasProjection(one.constraint, one.weight) for name, one in found.items()})


def renew_constraints(model: nn.Module) -> None:
    """Tells parameters their constraints once more, where others took their places: in a copy, or when loading."""
    for module in model.modules():
        for leaf, projection in module.__dict__.get(KEPT, {}).items():
            setattr(getattr(module, leaf), ATTRIBUTE, projection)


@torch.no_grad()
def apply_constraints(parameters: Iterable[Tensor]) -> None:
    """Makes weights what their constraints want; call it after ``optimizer.step()``, before ``zero_grad()``.

    Args:
        parameters: Those without a gradient are passed over, as Keras's optimizers do.

    Raises:
        TransferError: A constraint is none that is known.

    Source: Keras 3.15.1 keras/src/optimizers/base_optimizer.py, apply.
    """
    for parameter in parameters:
        projection: Projection | None = getattr(parameter, ATTRIBUTE, None)
        if projection is not None and parameter.grad is not None:
            parameter.copy_(projection(parameter))
