"""KerasHub's ResNetBackbone, v1 with basic or bottleneck blocks, alone or under KerasHub's classifier.

Source: keras-team/keras-hub keras_hub/src/models/resnet/resnet_backbone.py, commit 17a3932;
the classifier: keras_hub/src/models/image_classifier.py, KerasHub 0.32.
"""

from __future__ import annotations

from collections.abc import Sequence

from weight_transfer.families.builder import Builder, Config
from weight_transfer.families.family import Family
from weight_transfer.families.staged import Conv, Staged, StagedNames, projection, staged_candidates

EPSILON, MOMENTUM = 1e-5, 0.9

NAMES = StagedNames(
    "conv1_conv",
    "stack{stage}_block{block}_{branch}_conv",
    first_stage=0,
    first_block=0,
    classifier="predictions",
    plain_starts=("basic",),
)


def resnet(network: Staged) -> Config:
    """Writes the whole network."""
    net = Builder("res_net_backbone")
    x = net.input((None, None, network.in_channels), "input_layer")
    x = net.zero_pad(x, 3, "conv1_pad")
    x = net.conv(x, network.stem_filters, 7, 2, padding="valid", use_bias=False, name="conv1_conv")
    x = net.relu(_norm(net, x, "conv1_bn"), "conv1_relu")
    x = net.max_pool(net.zero_pad(x, 1, "pool1_pad"), 3, 2, "pool1_pool")
    for stack, block, convs in network.blocks():
        project = block == 0 and (stack > 0 or network.block not in NAMES.plain_starts)
        x = _block(net, x, convs, project, f"stack{stack}_block{block}")
    if network.classes:
        x = net.dense(net.global_average_pool(x, "pooler"), network.classes, name="predictions")
    return net.model(x)


def _block(net: Builder, x: str, convs: Sequence[Conv], project: bool, name: str) -> str:
    shortcut = x
    if project:
        shortcut = net.conv(x, *projection(convs), padding="valid", use_bias=False, name=f"{name}_0_conv")
        shortcut = _norm(net, shortcut, f"{name}_0_bn")
    for number, (filters, kernel_size, strides) in enumerate(convs, start=1):
        padding = "same" if kernel_size == 3 else "valid"
        if strides > 1:
            x, padding = net.zero_pad(x, 1, f"{name}_{number}_pad"), "valid"
        x = net.conv(x, filters, kernel_size, strides, padding=padding, use_bias=False, name=f"{name}_{number}_conv")
        x = _norm(net, x, f"{name}_{number}_bn")
        if number < len(convs):
            x = net.relu(x, f"{name}_{number}_relu")
    return net.relu(net.add([shortcut, x], f"{name}_add"), f"{name}_out")


def _norm(net: Builder, x: str, name: str) -> str:
    return net.norm(x, epsilon=EPSILON, momentum=MOMENTUM, name=name)


KERAS_HUB = Family(
    key="keras-hub",
    title="KerasHub ResNetBackbone, v1",
    source="keras-team/keras-hub keras_hub/src/models/resnet/resnet_backbone.py",
    assumptions=(
        "images of any size; batch normalization epsilon 1e-05; strides 2 in the first block of every stack "
        "but the first, on its 3x3; zero padding; the classifier pools the average and returns logits"
    ),
    candidates=staged_candidates(NAMES, "KerasHub ResNet{depth}", resnet),
)
