"""Pre-activation ResNets for CIFAR with two convolutions a block: the look-alikes of `cifar_example`'s v1.

Names, shapes and counters are those of v1, block for block. Only the order of the layers tells the
two apart, which Keras 2's files show and others do not.

Source: Hyperparticle/one-pixel-attack-keras networks/resnet.py, commit 0002ba2; BIGBALLON/cifar-10-cnn
4_Residual_Network/ResNet_keras.py, commit 30db1f4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import KERAS_EPSILON, KERAS_MOMENTUM, Builder, Config, classifier_activation
from weight_transfer.families.cifar_example import Network, describe, networks
from weight_transfer.families.family import Candidate, Family

IMAGE_SIZE = 32  # global pooling hides it; both repositories train on CIFAR alone


@dataclass(frozen=True)
class Habits:
    """Where the two repositories differ.

    Attributes:
        epsilon: Of every batch normalization.
        momentum: Of every batch normalization.
        project_activated: Whether the projection reads the block's input after norm and relu.
        shortcut_first: Whether an identity shortcut stands first in its addition.
    """

    epsilon: float
    momentum: float
    project_activated: bool
    shortcut_first: bool


ONE_PIXEL = Habits(KERAS_EPSILON, KERAS_MOMENTUM, project_activated=False, shortcut_first=True)
CIFAR_10_CNN = Habits(1e-5, 0.9, project_activated=True, shortcut_first=False)


def preact_resnet(network: Network, habits: Habits) -> Config:
    """Writes the network: norm, relu, conv, twice a block."""
    net = Builder()

    def norm_relu(x: str) -> str:
        return net.relu(net.norm(x, epsilon=habits.epsilon, momentum=habits.momentum))

    x = net.conv(net.input((IMAGE_SIZE, IMAGE_SIZE, network.in_channels)), network.stem_filters)
    for block in network.blocks:
        strides = 2 if block.projects else 1
        first, second = block.filters
        activated = norm_relu(x)
        y = net.conv(activated, first, strides=strides)
        y = net.conv(norm_relu(y), second)
        if block.projects:
            x = net.add([y, net.conv(activated if habits.project_activated else x, second, 1, strides)])
        else:
            x = net.add([x, y] if habits.shortcut_first else [y, x])
    x = net.global_average_pool(norm_relu(x))
    return net.model(net.dense(x, network.classes, classifier_activation(network.classes)))


def _candidates(habits: Habits) -> Callable[[Arrays], Iterator[Candidate]]:
    def candidates(arrays: Arrays) -> Iterator[Candidate]:
        for network in networks(arrays, 2):
            yield describe(network, "pre-activation CIFAR ResNet"), preact_resnet(network, habits)

    return candidates


ONE_PIXEL_ATTACK = Family(
    key="one-pixel-attack",
    title="one-pixel-attack-keras, pre-activation ResNet for CIFAR",
    source="Hyperparticle/one-pixel-attack-keras networks/resnet.py",
    assumptions=(
        "images of 32 x 32; batch normalization epsilon 0.001; padding 'same'; strides 2 on the first "
        "convolution of a stage and on its projection, which reads the block's bare input; global average pooling, "
        "then softmax"
    ),
    candidates=_candidates(ONE_PIXEL),
)

CIFAR_10_CNN_RESNET = Family(
    key="cifar-10-cnn",
    title="BIGBALLON's cifar-10-cnn, pre-activation ResNet for CIFAR",
    source="BIGBALLON/cifar-10-cnn 4_Residual_Network/ResNet_keras.py",
    assumptions=(
        "images of 32 x 32; batch normalization epsilon 1e-05; padding 'same'; strides 2 on the first "
        "convolution of a stage and on its projection, which reads the block's input after norm and relu; global "
        "average pooling, then softmax"
    ),
    candidates=_candidates(CIFAR_10_CNN),
)
