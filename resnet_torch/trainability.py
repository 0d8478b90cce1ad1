"""Which Keras layers of a module learn: its file's word brought to the module, and read off it again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator

from torch import nn

from resnet_torch.batch_norm import BatchNorm2d, set_trainable
from resnet_torch.model import PortedModel
from weight_transfer.errors import MappingError, listing
from weight_transfer.weight_mapping import modules_of_layers


def freeze_layers(model: PortedModel, frozen: Collection[str]) -> None:
    """Stops Keras layers from learning, batch norms among them in inference mode whatever `train` says.

    Args:
        model: Whose layers.
        frozen: The layers, by their Keras paths.

    Raises:
        MappingError: The model has no such layers.
    """
    modules = modules_of_layers(model.network)
    unknown = sorted(set(frozen) - set(modules))
    if unknown:
        raise MappingError(f"layers that do not learn, and that the network has not:{listing(unknown)}")
    for layer in frozen:
        set_trainable(model.get_submodule(modules[layer]), False, model.training)


def frozen_layers_of(model: PortedModel) -> tuple[str, ...]:
    """Returns the Keras layers of which nothing learns, and of batch norms no statistics move.

    Args:
        model: As it is now, however it was frozen.
    """
    return tuple(layer for layer, module in _modules_by_layer(model) if is_frozen(module))


def warn_of_partly_frozen(model: PortedModel, path: str | os.PathLike[str]) -> None:
    """Warns where a model that was saved has layers that are frozen in a way that Keras does not have.

    Keras freezes whole layers, and batch norms with their statistics, so the saved file lets such layers learn.

    Args:
        model: That was saved.
        path: To which file.
    """
    partly = [
        f"{layer}: {words}"
        for layer, module in _modules_by_layer(model)
        if (words := _partly_frozen(module)) is not None
    ]
    if partly:
        warnings.warn(
            f"{path}: saved, but what is frozen in PyTorch alone learns in Keras, which freezes whole layers, batch "
            f"norms with their statistics:{listing(partly)}\nTo keep it frozen, freeze parts by model.freeze(...), or "
            "all parameters of a layer by requires_grad_(False), and of a batch norm set frozen = True too.",
            UserWarning,
            stacklevel=3,
        )


def _modules_by_layer(model: PortedModel) -> Iterator[tuple[str, nn.Module]]:
    for layer, path in modules_of_layers(model.network).items():
        yield layer, model.get_submodule(path)


def is_frozen(module: nn.Module) -> bool:
    """Whether nothing of a module learns, and of a batch norm no statistics move."""
    learns = any(parameter.requires_grad for parameter in module.parameters())
    if isinstance(module, BatchNorm2d):
        return module.frozen and not learns
    return not learns and next(module.parameters(), None) is not None


def _partly_frozen(module: nn.Module) -> str | None:
    """What of a layer is frozen, where that is neither nothing nor all."""
    learning = [parameter.requires_grad for parameter in module.parameters()]
    if any(learning) and not all(learning):
        return "only some of its parameters learn"
    if isinstance(module, BatchNorm2d) and learning and module.frozen == learning[0]:
        return f"frozen={module.frozen}, and its parameters have requires_grad={learning[0]}"
    return None
