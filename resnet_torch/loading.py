"""Opening a converted file, or a Keras checkpoint directly, as a PyTorch module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from resnet_torch.resnet import ResNet
from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import to_torch
from weight_transfer.conversion.identify import Hints, identify
from weight_transfer.converted import is_converted, read_converted


def load_model(path: str | os.PathLike[str], hints: Hints | None = None) -> ResNet:
    """Loads a ResNet in evaluation mode, on the CPU.

    Args:
        path: A file that `weight-transfer convert` wrote, or a Keras checkpoint of any kind, which
            is converted in memory.
        hints: For a Keras checkpoint, what its file does not show.

    Returns:
        The module in the file's dtype; ``model.architecture`` describes it.

    Raises:
        TransferError: The file is neither, or its weights do not fit its architecture.

    Example:
        >>> model = load_model("resnet50.h5")
        >>> model.predict(images)
    """
    if is_converted(path):
        converted = read_converted(path)
        return _module(converted.architecture, converted.tensors())
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint, hints)
        return _module(identified.architecture, to_torch(identified, Path(path)))


def _module(architecture: Architecture, state: dict[str, Any]) -> ResNet:
    """Builds without initialising: every tensor is replaced by the file's own memory."""
    with torch.device("meta"):
        model = ResNet(architecture)
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    model.load_state_dict(tensors, strict=True, assign=True)
    for name, buffer in model.named_buffers():
        if buffer.is_meta:  # batch norm's step counter, which Keras does not have
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, torch.zeros((), dtype=buffer.dtype))
    return model.eval()
