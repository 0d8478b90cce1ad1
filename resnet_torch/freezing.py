"""Which Keras layers of a module learn: its file's word brought to the module, and read off it again."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from resnet_torch.batch_norm import BatchNorm2d, set_trainable
from resnet_torch.imported import ImportedModel
from resnet_torch.resnet import ResNet
from weight_transfer.conversion.mapping import modules_of_layers
from weight_transfer.errors import MappingError, listing


def freeze_layers(model: ResNet | ImportedModel, frozen: Collection[str]) -> None:
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


def frozen_layers_of(model: ResNet | ImportedModel) -> tuple[str, ...]:
    """Returns the Keras layers of which nothing learns.

    Args:
        model: As it is now, however it was frozen.

    Raises:
        MappingError: A layer is frozen in a way that Keras does not have.
    """
    found, problems = [], []
    for layer, path in modules_of_layers(model.network).items():
        module = model.get_submodule(path)
        learning = [parameter.requires_grad for parameter in module.parameters()]
        if any(learning) and not all(learning):
            problems.append(f"{path}: only some of its parameters learn")
        elif isinstance(module, BatchNorm2d) and learning and module.frozen == learning[0]:
            problems.append(f"{path}: frozen={module.frozen}, and its parameters have requires_grad={learning[0]}")
        elif (learning and not any(learning)) or _is_frozen_norm(module):
            found.append(layer)
    if problems:
        raise MappingError(
            f"Keras freezes whole layers, and a frozen batch norm stays in inference mode:{listing(problems)}\n"
            "Freeze parts with model.freeze(...), or set requires_grad of all parameters and frozen alike."
        )
    return tuple(found)


def _is_frozen_norm(module: nn.Module) -> bool:
    return isinstance(module, BatchNorm2d) and module.frozen
