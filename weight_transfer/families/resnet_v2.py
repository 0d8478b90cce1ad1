"""ResNet50V2, ResNet101V2 and ResNet152V2 of keras.applications, and networks of other depths and widths like them.

Source: keras/src/applications/resnet.py, residual_block_v2, stack_residual_blocks_v2, ResNet, and
resnet_v2.py, Keras 3.15; the same as keras-applications resnet_common.py block2, stack2.
"""

from __future__ import annotations

from collections.abc import Iterator

from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import Builder, Config, classifier_activation
from weight_transfer.families.family import Candidate, Family
from weight_transfer.families.staged import EXPANSION, Staged, StagedNames, staged_networks

EPSILON = 1.001e-5

NAMES = StagedNames(
    "conv1_conv",
    "conv{stage}_block{block}_{branch}_conv",
    first_stage=2,
    first_block=1,
    classifier="predictions",
    blocks=("bottleneck",),
)


def resnet_v2(network: Staged) -> Config:
    """Writes the whole network."""
    net = Builder(f"resnet{network.depth or ''}v2")
    size = 224 if network.classes else None
    x = net.input((size, size, network.in_channels))
    x = net.conv(net.zero_pad(x, 3, "conv1_pad"), network.stem_filters, 7, 2, padding="valid", name="conv1_conv")
    x = net.max_pool(net.zero_pad(x, 1, "pool1_pad"), 3, 2, "pool1_pool")
    last_stage = len(network.block_counts) - 1
    for stage, (count, filters) in enumerate(zip(network.block_counts, network.filters, strict=True)):
        for block in range(count):
            strides = 2 if block == count - 1 and stage < last_stage else 1
            x = _block(net, x, filters, strides, block == 0, f"conv{stage + 2}_block{block + 1}")
    x = net.relu(_norm(net, x, "post_bn"), "post_relu")
    if network.classes:
        x = net.global_average_pool(x, "avg_pool")
        x = net.dense(x, network.classes, classifier_activation(network.classes), "predictions")
    return net.model(x)


def _block(net: Builder, x: str, filters: int, strides: int, project: bool, name: str) -> str:
    """A block that strides in its 3x3, and by a bare subsampling on its shortcut."""
    preact = net.relu(_norm(net, x, f"{name}_preact_bn"), f"{name}_preact_relu")
    if project:
        shortcut = net.conv(preact, EXPANSION * filters, 1, strides, padding="valid", name=f"{name}_0_conv")
    else:
        shortcut = net.max_pool(x, 1, strides) if strides > 1 else x
    y = net.conv(preact, filters, 1, padding="valid", use_bias=False, name=f"{name}_1_conv")
    y = net.zero_pad(net.relu(_norm(net, y, f"{name}_1_bn"), f"{name}_1_relu"), 1, f"{name}_2_pad")
    y = net.conv(y, filters, 3, strides, padding="valid", use_bias=False, name=f"{name}_2_conv")
    y = net.relu(_norm(net, y, f"{name}_2_bn"), f"{name}_2_relu")
    y = net.conv(y, EXPANSION * filters, 1, padding="valid", name=f"{name}_3_conv")
    return net.add([shortcut, y], f"{name}_out")


def _norm(net: Builder, x: str, name: str) -> str:
    return net.norm(x, epsilon=EPSILON, axis=3, name=name)


def _candidates(arrays: Arrays) -> Iterator[Candidate]:
    for network in staged_networks(arrays, NAMES):
        if min(network.block_counts) > 1:  # one block alone would be named twice in the original
            yield network.describe("ResNet{depth}V2"), resnet_v2(network)


RESNET_V2 = Family(
    key="keras-applications-v2",
    title="keras.applications ResNet50V2, ResNet101V2, ResNet152V2",
    source="keras/src/applications/resnet.py, residual_block_v2",
    assumptions=(
        "images of 224 x 224 with the top, of any size without it; batch normalization epsilon 1.001e-05; strides 2 "
        "in the last block of every stage but the last, on its 3x3 and, as a bare subsampling, its shortcut; softmax "
        "at the end (sigmoid for one class); no pooling without the top"
    ),
    candidates=_candidates,
)
