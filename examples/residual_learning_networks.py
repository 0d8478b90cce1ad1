"""The networks of `residual_learning.py`: the paper's for CIFAR-10, with and without shortcuts.

A 3x3 convolution, three stages of n basic blocks with 16, 32 and 64 channels, halved in size from stage
to stage, global pooling, a classifier: 6n + 2 layers. Made of the library's own blocks; the plain
network is the residual one without its shortcuts.

Source: He et al. 2015 (arXiv:1512.03385), section 4.2.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Literal

from torch import nn

from resnet_torch import ResidualBlock, basic_conv_block, basic_identity_block
from resnet_torch.initializers import initialize
from weight_transfer.architecture import Conventions

Kind = Literal["plain", "residual"]

NUM_CLASSES = 10
STAGES = (2, 3, 4)
# The paper's: no bias before a batch norm, statistics that follow within a few hundred steps.
CONVENTIONS = Conventions(conv_bias=False, momentum=0.9)


def network(kind: Kind, depth: int, width: int) -> nn.Sequential:
    """Takes (N, 3, H, W), gives logits (N, 10)."""
    stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = nn.Sequential(initialize(stem, "he_normal"), nn.BatchNorm2d(width), nn.ReLU())
    channels = width
    for stage in STAGES:
        parts[f"stage{stage}"] = nn.Sequential()
        for index in range((depth - 2) // 6):
            filters = (width * 2 ** (stage - 2),) * 2
            if filters[0] == channels:
                block = basic_identity_block(channels, 3, filters, stage, str(index), CONVENTIONS)
            else:
                block = basic_conv_block(channels, 3, filters, stage, str(index), (2, 2), CONVENTIONS)
            parts[f"stage{stage}"].append(block if kind == "residual" else without_shortcut(block))
            channels = filters[0]
    head = initialize(nn.Linear(channels, NUM_CLASSES), "glorot_uniform")
    parts["head"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return nn.Sequential(parts)


def without_shortcut(block: ResidualBlock) -> nn.Sequential:
    """The block's own layers: relu(F(x)) in place of relu(F(x) + shortcut(x))."""
    return nn.Sequential(OrderedDict(residual=block.residual, relu=block.relu))


def with_identity_layers(shallow: nn.Sequential, depth: int, width: int) -> nn.Sequential:
    """Returns a copy that is as deep as ``depth`` says and computes the same: behind each stage, blocks with F = 0."""
    deep = copy.deepcopy(shallow)
    for stage in STAGES:
        blocks, channels = deep.get_submodule(f"stage{stage}"), width * 2 ** (stage - 2)
        for index in range(len(blocks), (depth - 2) // 6):
            block = basic_identity_block(channels, 3, (channels, channels), stage, str(index), CONVENTIONS)
            blocks.append(scaled(block, 0.0))
    return deep


def scaled(block: ResidualBlock, strength: float) -> ResidualBlock:
    """Scales F through the gamma of its last batch norm."""
    nn.init.constant_(block.residual[-1].weight, strength)
    return block
