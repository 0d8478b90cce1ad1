"""A live module, trained or not, as a converted file: the form that loads here and goes back to Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.imported import ImportedModel
from resnet_torch.resnet import ResNet
from weight_transfer.atomic import check_output
from weight_transfer.conversion.export import rows_of
from weight_transfer.converted import LayerRegularizers, Origin, Training, write_converted
from weight_transfer.converted import Tensor as Written
from weight_transfer.errors import MappingError, TransferError, listing
from weight_transfer.images import ImageLoading
from weight_transfer.network import regularizers_of_graph
from weight_transfer.safetensors_header import DTYPES
from weight_transfer.version import __version__

Model = TypeVar("Model", bound=nn.Module)

ORIGIN, REGULARIZERS = "origin", "regularizers"
MADE_HERE = Origin(source="", sha256="", container="PyTorch", keras_version=None, tool_version=__version__)


def save_converted(
    model: nn.Module,
    path: str | os.PathLike[str],
    origin: Origin | None = None,
    image_loading: ImageLoading | None = None,
) -> None:
    """Writes a module as `weight-transfer convert` would have written it, atomically.

    The file holds weights and moving statistics in the module's dtype, what network they are, and by which
    rule its batch norms learn. `load_model` reads it, ``weight-transfer convert`` takes a ResNet back to Keras.

    Args:
        model: A `ResNet` or an `ImportedModel`, on any device; also what `torch.compile` or a data-parallel
            wrapper made of one.
        path: The output; an earlier file stays until the new one is whole.
        origin: Which Keras file it began from; by default the one that `load_model` read, or none.
        image_loading: How the images it was trained on were loaded.

    Raises:
        MappingError: The module's tensors are no longer those of its network (a layer was replaced), or hold
            what is not finite, or a negative variance; nothing is written.
        TransferError: It is another module, its dtype has no place in the file, or the file cannot be written.

    Example:
        >>> model = load_model("resnet50.safetensors").train()
        >>> ...  # train it
        >>> save_converted(model, "trained.safetensors")
    """
    check_output(path)
    bare = unwrapped(model)
    state = bare.state_dict()
    rows = rows_of({name: tuple(tensor.shape) for name, tensor in state.items()}, bare.network)
    _check_dtypes({row.torch: state[row.torch] for row in rows})
    _check_values({row.torch: state[row.torch] for row in rows})
    write_converted(
        path,
        (_written(row.torch, state[row.torch]) for row in rows),
        bare.network,
        origin or origin_of_module(bare) or MADE_HERE,
        image_loading=image_loading,
        training=Training(moving_variance_of_module(bare)),
        regularizers=_of_layers(bare),
    )


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


def _of_layers(model: ResNet | ImportedModel) -> LayerRegularizers:
    """What a graph does not carry itself."""
    own = regularizers_of_graph(model.network)
    return {layer: held for layer, held in regularizers_of_module(model).items() if layer not in own}


def _known(model: nn.Module) -> dict[str, Any]:
    """Where a module keeps what it knows of itself: torch copies of a graph's attributes only ``meta``."""
    return model.meta if isinstance(model, ImportedModel) else model.__dict__


def moving_variance_of_module(model: nn.Module) -> Any:
    """Returns the rule of a module's batch norms; None where it has none.

    Raises:
        TransferError: They do not all have the same.
    """
    rules = {module.moving_variance for module in model.modules() if isinstance(module, BatchNorm2d)}
    if len(rules) > 1:
        raise TransferError(
            "the batch norms move their variances by different rules, and a converted file has one. "
            "Set the same moving_variance on all of them."
        )
    return rules.pop() if rules else None


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Returns a tensor's numbers, wherever and however it lies in memory."""
    array: npt.NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array


def _written(name: str, tensor: Tensor) -> Written:
    read: Callable[[], npt.NDArray[Any]] = lambda: as_array(tensor)  # noqa: E731
    return Written(name, as_array(tensor[:0] if tensor.ndim else tensor).dtype, tuple(tensor.shape), read)


def _check_dtypes(state: dict[str, Tensor]) -> None:
    bad = {str(tensor.dtype) for tensor in state.values()} - {f"torch.{name}" for name in DTYPES}
    if bad:
        raise TransferError(
            f"the module holds {', '.join(sorted(bad))}, which neither Keras nor a converted file takes. "
            "Save it as model.float()."
        )


def _check_values(state: dict[str, Tensor]) -> None:
    """A run that went to NaN must not replace the last good file."""
    bad = [f"{name}: not finite" for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    bad += [
        f"{name}: negative, and a variance"
        for name, tensor in state.items()
        if name.endswith("running_var") and bool((tensor < 0).any())
    ]
    if bad:
        raise MappingError(
            f"values no trained network has:{listing(bad)}\nNothing was written; an earlier file is unchanged."
        )
