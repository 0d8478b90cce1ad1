"""Opening a converted file, or a Keras checkpoint directly, as a PyTorch module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnet_torch.batch_norm import MovingVariance
from resnet_torch.imported import ImportedModel, import_graph
from resnet_torch.resnet import ResNet
from resnet_torch.unwrapping import with_origin, with_regularizers
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import origin_of, to_torch
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.conversion.regularizers import regularizers_of
from weight_transfer.converted import is_converted, moving_variance_of, read_converted
from weight_transfer.errors import CheckpointError, listing
from weight_transfer.layer_graph import LayerGraph
from weight_transfer.network import HeadedResNet, Network


def load_model(path: str | os.PathLike[str], hints: Hints | None = None) -> ResNet | ImportedModel:
    """Loads a network in evaluation mode, on the CPU.

    Its batch norms learn by the rule of the Keras that wrote the checkpoint, and it knows the Keras
    layers' regularizers, which `resnet_torch.regularizers` reads.

    Args:
        path: A file that `weight-transfer convert` wrote, or a Keras checkpoint of any kind, which
            is converted in memory.
        hints: For a Keras checkpoint, what its file does not show.

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
        converted = read_converted(path)
        model = _module(Path(path), converted.network, converted.tensors(), converted.moving_variance)
        return with_origin(with_regularizers(model, converted.regularizers), converted.origin)
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint, hints)
        rule = moving_variance_of(checkpoint.keras_version)
        model = _module(Path(path), identified.network, to_torch(identified, Path(path)), rule)
        return with_origin(with_regularizers(model, regularizers_of(identified)), origin_of(checkpoint))


def build_network(network: Network, rule: MovingVariance) -> ResNet | ImportedModel:
    """Builds a network of any kind, with weights as they are where training begins.

    Args:
        network: What to build.
        rule: Which Keras its batch norms learn like.
    """
    if isinstance(network, LayerGraph):
        return import_graph(network, rule)
    if isinstance(network, HeadedResNet):
        return ResNet(network.backbone, rule, network.head)
    return ResNet(network, rule)


def _module(path: Path, network: Network, state: Mapping[str, Any], rule: MovingVariance) -> ResNet | ImportedModel:
    """Builds without initialising, and gives every tensor memory of its own.

    A copy, not the file's memory: that starts at any address, and the last bit of a product can
    depend on it.
    """
    with torch.device("meta"):
        model = build_network(network, rule)
    if _holds_constants(model):
        model = build_network(network, rule)
    tensors = {name: torch.from_numpy(array).clone() for name, array in state.items()}
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its tensors are not those of its network:{listing(str(error).splitlines()[1:])}\n"
            "Convert the checkpoint again."
        ) from error
    return model.eval()


def _holds_constants(model: ResNet | ImportedModel) -> bool:
    """Whether a layer keeps numbers of its settings in tensors that no state dict fills."""
    return not {name for name, _ in model.named_buffers()} <= set(model.state_dict())
