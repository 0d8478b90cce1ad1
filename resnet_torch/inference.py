"""Running a module as Keras's `predict` does, whatever mode it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inference mode without gradients; afterwards each module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def cast_inputs(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns inputs in the dtype of a network's weights, as Keras casts what a model is given."""
    dtype = next((weight.dtype for weight in model.parameters()), None)
    return tuple(x.to(dtype) if isinstance(x, Tensor) else x for x in inputs)
