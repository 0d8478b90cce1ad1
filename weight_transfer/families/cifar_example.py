"""The ResNets of Keras's CIFAR-10 example, and whatever pruning has left of them.

Every layer has an automatic name, so the shapes of the convolutions, in the order in which they were
built, tell the blocks. Widths may be any, and whole blocks may be missing.

Source: keras-team/keras examples/cifar10_resnet.py, commit 08f8f0a; pruned:
arturjordao/DepthWisePruning main.py, commit 3c06ec2, and the .json files beside its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import Builder, Config, classifier_activation
from weight_transfer.families.family import Candidate, Family

POOL_SIZE = 8  # of the AveragePooling2D before the classifier

KernelShape = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """One residual block.

    Attributes:
        filters: Of its convolutions on the residual branch, in order.
        projects: Whether its shortcut is a convolution; it then starts a stage.
    """

    filters: tuple[int, ...]
    projects: bool


@dataclass(frozen=True)
class Network:
    """What the shapes of a file show.

    Attributes:
        in_channels: Of the image.
        stem_filters: Of the first convolution.
        blocks: In order.
        classes: Of the classifier.
        pooled_size: Width of what the average pooling leaves.
    """

    in_channels: int
    stem_filters: int
    blocks: tuple[Block, ...]
    classes: int
    pooled_size: int

    @property
    def num_projections(self) -> int:
        """Blocks with a convolution on the shortcut."""
        return sum(block.projects for block in self.blocks)

    @property
    def out_channels(self) -> int:
        """Of the last block."""
        return self.blocks[-1].filters[-1]


def resnet_v1(network: Network) -> Config:
    """Writes ResNet v1: conv, norm, relu; the projection has no norm."""
    net = Builder()
    size = POOL_SIZE * network.pooled_size * 2**network.num_projections
    x = net.input((size, size, network.in_channels))
    x = net.relu(net.norm(net.conv(x, network.stem_filters)))
    for block in network.blocks:
        strides = 2 if block.projects else 1
        first, second = block.filters
        y = net.relu(net.norm(net.conv(x, first, strides=strides)))
        y = net.norm(net.conv(y, second))
        if block.projects:
            x = net.conv(x, second, 1, strides)
        x = net.relu(net.add([x, y]))
    return _classifier(net, x, network)


def resnet_v2(network: Network) -> Config:
    """Writes ResNet v2: norm, relu, conv; the very first block's norm and relu are the stem's."""
    net = Builder()
    size = POOL_SIZE * network.pooled_size * 2 ** (network.num_projections - 1)
    x = net.input((size, size, network.in_channels))
    x = net.relu(net.norm(net.conv(x, network.stem_filters)))
    for index, block in enumerate(network.blocks):
        strides = 2 if block.projects and index > 0 else 1
        first, second, third = block.filters
        y = net.conv(x if index == 0 else net.relu(net.norm(x)), first, 1, strides)
        y = net.conv(net.relu(net.norm(y)), second)
        y = net.conv(net.relu(net.norm(y)), third, 1)
        if block.projects:
            x = net.conv(x, third, 1, strides)
        x = net.add([x, y])
    return _classifier(net, net.relu(net.norm(x)), network)


def _classifier(net: Builder, x: str, network: Network) -> Config:
    y = net.flatten(net.average_pool(x, POOL_SIZE))
    return net.model(net.dense(y, network.classes, classifier_activation(network.classes)))


def networks(arrays: Arrays, num_convs: int) -> Iterator[Network]:
    """Yields the network that the convolutions' shapes show, if they are those of residual blocks.

    Args:
        arrays: The file's.
        num_convs: On each block's residual branch: 2 in v1, 3 in v2.
    """
    kernels, dense = arrays.kernels("Conv2D"), arrays.kernels("Dense")
    if len(kernels) < 2 or len(dense) != 1 or any(len(shape) != 4 for shape in kernels):
        return
    blocks = _blocks(kernels[1:], num_convs, arrays.counted)
    if blocks is None or not any(block.projects for block in blocks):
        return
    in_features, classes = dense[0]
    pooled_size = math.isqrt(in_features // blocks[-1].filters[-1])
    if pooled_size > 0:  # where it is no square, the classifier's shape will not fit
        yield Network(kernels[0][2], kernels[0][3], tuple(blocks), classes, pooled_size)


def _blocks(kernels: Sequence[KernelShape], num_convs: int, counted: bool) -> list[Block] | None:
    """Reads the convolutions behind the stem; None where they are not whole blocks."""
    blocks = []
    while kernels:
        convs, kernels = list(kernels[:num_convs]), kernels[num_convs:]
        projects = bool(kernels) and _is_projection(kernels, num_convs)
        if projects:
            # Keras numbers layers as they are built; model.layers, by which a file without names
            # counts, has v2's projection before the third convolution.
            convs.append(kernels[0])
            if counted and num_convs == 3:
                convs[-1], convs[-2] = convs[-2], convs[-1]
            kernels = kernels[1:]
        if len(convs) < num_convs:
            return None
        blocks.append(Block(tuple(shape[-1] for shape in convs[:num_convs]), projects))
    return blocks


def _is_projection(kernels: Sequence[KernelShape], num_convs: int) -> bool:
    """Whether the convolution after a block's is its projection, a 1x1, and not the next block's first.

    In v2 that is a 1x1 too, but one that a 3x3 follows.
    """
    if kernels[0][:2] != (1, 1):
        return False
    return num_convs == 2 or len(kernels) == 1 or kernels[1][:2] == (1, 1)


def describe(network: Network, kind: str) -> str:
    """Returns kind, depth, blocks and widths in words."""
    convs = len(network.blocks[0].filters)
    counts: list[int] = []
    widths: list[int] = []
    for index, block in enumerate(network.blocks):
        if block.projects or index == 0:
            counts.append(0)
            widths.append(block.filters[-1])
        counts[-1] += 1
    return (
        f"{kind}-{convs * len(network.blocks) + 2}: "
        f"blocks {_list(counts)}; widths {_list(widths)}; {network.classes} classes"
    )


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _candidates_v1(arrays: Arrays) -> Iterator[Candidate]:
    for network in networks(arrays, 2):
        yield describe(network, "Keras CIFAR v1 ResNet"), resnet_v1(network)


def _candidates_v2(arrays: Arrays) -> Iterator[Candidate]:
    for network in networks(arrays, 3):
        if network.blocks[0].projects:
            yield describe(network, "Keras CIFAR v2 ResNet"), resnet_v2(network)


_ASSUMPTIONS = (
    "square images of the least size that gives the classifier its inputs (32 x 32 at three stages); "
    "batch normalization epsilon 0.001; padding 'same'; strides 2 on the first convolution of a "
    "stage and on its projection; average pooling over 8 x 8, then softmax"
)

CIFAR_V1 = Family(
    key="cifar-v1",
    title="Keras CIFAR-10 example, ResNet v1",
    source="keras-team/keras examples/cifar10_resnet.py resnet_v1",
    assumptions=_ASSUMPTIONS,
    candidates=_candidates_v1,
)

CIFAR_V2 = Family(
    key="cifar-v2",
    title="Keras CIFAR-10 example, ResNet v2",
    source="keras-team/keras examples/cifar10_resnet.py resnet_v2",
    assumptions=_ASSUMPTIONS,
    candidates=_candidates_v2,
)
