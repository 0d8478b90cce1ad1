"""Opening a converted file, or a Keras checkpoint directly, as a PyTorch module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnet_torch.batch_norm import MovingVariance
from resnet_torch.resnet import ResNet
from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import to_torch
from weight_transfer.conversion.identify import Hints, identify
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.errors import CheckpointError, listing


def load_model(path: str | os.PathLike[str], hints: Hints | None = None) -> ResNet:
    """Loads a ResNet in evaluation mode, on the CPU.

    Its batch norms learn by the rule of the Keras that wrote the checkpoint.

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
        >>> probabilities = model.predict(images)
    """
    if is_converted(path):
        converted = read_converted(path)
        rule = moving_variance_of(converted.origin.keras_version)
        return _module(Path(path), converted.architecture, converted.tensors(), rule)
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint, hints)
        rule = moving_variance_of(checkpoint.keras_version)
        return _module(Path(path), identified.architecture, to_torch(identified, Path(path)), rule)


def moving_variance_of(keras_version: str | None) -> MovingVariance:
    """Returns the rule by which this Keras moves its variances; Keras 3's where the version is not known."""
    return "tf_keras" if (keras_version or "3").partition(".")[0] in ("0", "1", "2") else "keras3"


def _module(path: Path, architecture: Architecture, state: Mapping[str, Any], rule: MovingVariance) -> ResNet:
    """Builds without initialising: the file's own memory becomes the tensors."""
    with torch.device("meta"):
        model = ResNet(architecture, moving_variance=rule)
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its tensors are not those of its architecture:{listing(str(error).splitlines()[1:])}\n"
            "Convert the checkpoint again."
        ) from error
    return model.eval()
