"""The head: what follows the last stage."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from resnet_torch.initializers import initialize
from resnet_torch.layers import Inputs, Readers
from weight_transfer.architecture import Head, Names
from weight_transfer.layer_types import Settings
from weight_transfer.resnet.dialects import TUTORIAL


def head(in_channels: int, head: Head = TUTORIAL.head, names: Names = TUTORIAL.names) -> nn.Sequential:
    """Global pooling and the classifier, as far as the description has them.

    The classifier gives logits: PyTorch's losses want them. `ResNet.predict` applies the activation.

    Args:
        in_channels: Channels of the feature map.
        head: Pooling, hidden layer, classes, dropout.
        names: Layer names.

    Returns:
        Takes (N, in_channels, H, W), gives (N, classes), or (N, in_channels) without a classifier,
        or its input without pooling.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if head.pooling is None:
        return nn.Sequential(layers)
    pool = nn.AdaptiveAvgPool2d(1) if head.pooling == "avg" else nn.AdaptiveMaxPool2d(1)
    layers[names.global_pool] = nn.Sequential(pool, nn.Flatten())
    if head.classes is None:
        return nn.Sequential(layers)
    number = 1
    if head.hidden_units is not None:
        layers |= _dropout(head.dropout, number)
        layers[names.hidden] = _dense(in_channels, head.hidden_units)
        # Keras's Dense carries its ReLU inside; here it is a layer of its own.
        layers[f"{names.hidden}_relu"] = nn.ReLU()
        in_channels = head.hidden_units
        number += 1
    layers |= _dropout(head.dropout, number)
    layers[names.classifier] = _dense(in_channels, head.classes)
    return nn.Sequential(layers)


def _dropout(rate: float, number: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict({f"dropout_{number:02d}": nn.Dropout(rate)} if rate else {})


def _dense(in_channels: int, units: int) -> nn.Linear:
    return initialize(nn.Linear(in_channels, units), "glorot_uniform")  # Keras's default for Dense


def _read_global_pool(pair: Any, inputs: Inputs) -> Settings:
    kind = {nn.AdaptiveAvgPool2d: "Average", nn.AdaptiveMaxPool2d: "Max"}.get(type(pair[0]))
    return {"kind": kind, "keepdims": len(pair) == 1}


GLOBAL_POOL_READERS: Readers = {nn.Sequential: _read_global_pool}  # where an imported graph has a module of its own
