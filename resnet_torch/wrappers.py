"""The network inside its wrappers: its numbers, and what is known of it beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor, nn

from resnet_torch.model import DESCRIPTION, PortedModel
from weight_transfer.description import Description
from weight_transfer.errors import TransferError
from weight_transfer.tensor_file import Tensor as Written

Model = TypeVar("Model", bound=nn.Module)


def unwrapped(model: nn.Module) -> PortedModel:
    """Returns the network inside what `torch.compile` or a data-parallel wrapper made of it.

    Raises:
        TransferError: There is none of ours inside.
    """
    inside: Any = model
    while not isinstance(inside, PortedModel):
        found = [inside._modules[name] for name in ("_orig_mod", "module") if name in getattr(inside, "_modules", {})]
        if not found:
            raise TransferError(
                f"a {type(model).__name__} is not a network that a converted file describes. Expected a "
                "resnet_torch.ResNet or what load_model gives, plain, compiled or data-parallel."
            )
        inside = found[0]
    return inside


def description_of_module(model: nn.Module) -> Description:
    """Returns what is known of a module: what its file said, or for one that was made here what its network shows."""
    return unwrapped(model).description


def with_description(model: Model, description: Description) -> Model:
    """Returns the module, which from now on remembers what its file said."""
    model.__dict__[DESCRIPTION] = description
    return model


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Returns a tensor's numbers, wherever and however it lies in memory; in float32 those of bfloat16."""
    held = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # exact, and NumPy has no bfloat16
    array: npt.NDArray[Any] = held.detach().cpu().contiguous().numpy()
    return array


def tensor_to_write(name: str, tensor: Tensor) -> Written:
    """Returns a live tensor as one that is to be written, its numbers as `as_array` gives them."""
    read: Callable[[], npt.NDArray[Any]] = lambda: as_array(tensor)  # noqa: E731
    return Written(name, as_array(tensor.new_empty(0)).dtype, tuple(tensor.shape), read)
