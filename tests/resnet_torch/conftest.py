"""Small networks: every layer of a real ResNet, a few channels wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from resnet_torch import ResNet
from resnet_torch.resnet import create_resnet
from weight_transfer.architecture import DEPTHS, standard_filters


@pytest.fixture(scope="session")
def small() -> Callable[..., ResNet]:
    """Calls ``small(in_shape, n_classes, **arguments)`` as `create_resnet`, one block per stage, 2 channels."""

    def build(in_shape: tuple[int, int, int] = (64, 64, 3), n_classes: int | None = 5, **arguments: Any) -> ResNet:
        block = DEPTHS[arguments.get("depth", 50)][0]
        arguments.setdefault("block_counts", (1, 2, 1, 1))
        num_stages = len(arguments["block_counts"])
        arguments = {"filters": standard_filters(block, num_stages, 2), "stem_filters": 3, **arguments}
        torch.manual_seed(2021)
        return _lived_in(create_resnet(in_shape, n_classes, **arguments))

    return build


def _lived_in(model: ResNet) -> ResNet:
    """Gives biases and statistics values that are neither 0 nor 1, so that none can be left out unseen."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return model
