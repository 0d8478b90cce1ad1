"""The network inside its wrappers: its numbers, and where it comes from."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy.typing as npt
from torch import Tensor, nn

from resnet_torch.imported import ImportedModel
from resnet_torch.resnet import ResNet
from weight_transfer.converted import LayerRegularizers, Origin
from weight_transfer.errors import TransferError

Model = TypeVar("Model", bound=nn.Module)

ORIGIN, REGULARIZERS = "origin", "regularizers"


def unwrapped(model: nn.Module) -> ResNet | ImportedModel:
    """Returns the network inside what `torch.compile` or a data-parallel wrapper made of it.

    Raises:
        TransferError: There is none of ours inside.
    """
    inside: Any = model
    while not isinstance(inside, ResNet | ImportedModel):
        found = [inside._modules[name] for name in ("_orig_mod", "module") if name in getattr(inside, "_modules", {})]
        if not found:
            raise TransferError(
                f"a {type(model).__name__} is not a network that a converted file describes. Expected a "
                "resnet_torch.ResNet or what load_model gives, plain, compiled or data-parallel."
            )
        inside = found[0]
    return inside


def origin_of_module(model: nn.Module) -> Origin | None:
    """Returns which Keras file `load_model` read a module from; None of one that was made here."""
    origin: Origin | None = _known(unwrapped(model)).get(ORIGIN)
    return origin


def with_origin(model: Model, origin: Origin) -> Model:
    """Returns the module, which from now on knows where it comes from."""
    _known(model)[ORIGIN] = origin
    return model


def regularizers_of_module(model: nn.Module) -> LayerRegularizers:
    """Returns the regularizers of the Keras model that `load_model` read, by layer and argument."""
    found: LayerRegularizers = _known(unwrapped(model)).get(REGULARIZERS, {})
    return found


def with_regularizers(model: Model, regularizers: LayerRegularizers) -> Model:
    """Returns the module, which from now on knows how its layers were regularized."""
    _known(model)[REGULARIZERS] = dict(regularizers)
    return model


def _known(model: nn.Module) -> dict[str, Any]:
    """Where a module keeps what it knows of itself: torch copies of a graph's attributes only ``meta``."""
    return model.meta if isinstance(model, ImportedModel) else model.__dict__


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Returns a tensor's numbers, wherever and however it lies in memory."""
    array: npt.NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array
