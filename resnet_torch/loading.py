"""Opening a converted file, or a Keras checkpoint directly, as a PyTorch module."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnet_torch.constraints import constrain_as_described
from resnet_torch.imported import import_graph
from resnet_torch.inference import cast_inputs
from resnet_torch.model import PortedModel
from resnet_torch.resnet import ResNet
from resnet_torch.trainability import freeze_layers
from resnet_torch.wrappers import with_description
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import to_torch
from weight_transfer.conversion.description import describe
from weight_transfer.conversion.hint_checks import refuse_said_of_converted
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.description import Description
from weight_transfer.errors import CheckpointError, listing


def load_model(path: str | os.PathLike[str], hints: Hints | None = None, *, unfreeze: bool = False) -> PortedModel:
    """Loads a network in evaluation mode, on the CPU.

    Its batch norms learn by the rule of the Keras that wrote the checkpoint, what did not learn in Keras
    (``trainable=False``) has no gradients, and it knows the Keras layers' regularizers, which
    `resnet_torch.regularizers` reads. Its weights have the Keras layers' constraints, which the optimizers
    of `resnet_torch.optimizers` apply.

    Args:
        path: A file that `weight-transfer convert` or `save_converted` wrote; a folder of `save_pretrained`, or
            the ``model.safetensors`` in it; or a Keras checkpoint of any kind, which is converted in memory.
        hints: For a Keras checkpoint, what its file does not show.
        unfreeze: Let all layers learn, whatever the file says.

    Returns:
        The module in the file's dtype: a `ResNet`, described by ``model.architecture``, or an
        `ImportedModel`, described by ``model.network``. `save_converted` writes it back.

    Raises:
        TransferError: The file is neither, or its weights do not fit its architecture.

    Example:
        >>> model = load_model("resnet50.h5")
        >>> probabilities = model.predict(images)
    """
    if is_converted(path):
        refuse_said_of_converted(path, hints=hints)
        converted = read_converted(path)
        description = converted.description
        if unfreeze:
            description = dataclasses.replace(description, frozen=())
        return _module(converted.path, description, converted.tensors())
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint, hints)
        description = describe(checkpoint, identified, hints, unfreeze=unfreeze)
        return _module(Path(path), description, to_torch(identified, Path(path)))


def build_network(description: Description) -> PortedModel:
    """Builds a network of any kind, with weights as they are where training begins, that knows its description."""
    network, rule = description.network, description.moving_variance
    model: PortedModel
    if network.architecture is None:
        model = import_graph(network, rule)
    else:
        model = ResNet(network.architecture, rule, network.own_head)
    freeze_layers(model, description.frozen)
    return with_description(model, description)


def _module(path: Path, description: Description, state: Mapping[str, Any]) -> PortedModel:
    """Builds without initialising, and gives every tensor memory of its own.

    A copy, not the file's memory: that starts at any address, and the last bit of a product can
    depend on it.
    """
    with torch.device("meta"):
        model = build_network(description)
    if _holds_constants(model):
        model = build_network(description)
    tensors = {name: torch.from_numpy(array).clone() for name, array in state.items()}
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its tensors are not those of its network:{listing(str(error).splitlines()[1:])}\n"
            "Convert the checkpoint again."
        ) from error
    if description.precision.dtype != "float32":
        # NumPy has no bfloat16, and constants of the settings have no tensor in the file.
        model.to(getattr(torch, description.precision.dtype)).register_forward_pre_hook(cast_inputs)
    constrain_as_described(model, description)
    return model.eval()


def _holds_constants(model: PortedModel) -> bool:
    """Whether a layer keeps numbers of its settings in tensors that no state dict fills."""
    return not {name for name, _ in model.named_buffers()} <= set(model.state_dict())
