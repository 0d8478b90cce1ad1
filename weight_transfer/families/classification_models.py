"""ResNet-18 to -152 of qubvel's classification_models: pre-activation, a batch normalization on the image.

Source: qubvel/classification_models classification_models/models/resnet.py, commit 0b81180; the first
version, resnet/builder.py at commit 2eb29dc with blocks.py at fb58317, builds the same networks.
"""

from __future__ import annotations

from collections.abc import Sequence

from weight_transfer.families.builder import Builder, Config
from weight_transfer.families.family import Family
from weight_transfer.families.staged import Conv, Staged, StagedNames, projection, staged_candidates

EPSILON = 2e-5

NAMES = StagedNames("conv0", "stage{stage}_unit{block}_conv{branch}", first_stage=1, first_block=1, classifier="fc1")


def resnet(network: Staged) -> Config:
    """Writes the whole network."""
    net = Builder()
    size = 224 if network.classes else None
    x = net.input((size, size, network.in_channels), "data")
    x = net.zero_pad(_norm(net, x, "bn_data", scale=False), 3)
    x = _conv(net, x, network.stem_filters, 7, 2, "conv0")
    x = net.zero_pad(net.relu(_norm(net, x, "bn0"), "relu0"), 1)
    x = net.max_pool(x, 3, 2, "pooling0")
    for stage, block, convs in network.blocks():
        x = _block(net, x, convs, block == 0, f"stage{stage + 1}_unit{block + 1}_")
    x = net.relu(_norm(net, x, "bn1"), "relu1")
    if network.classes:
        x = net.dense(net.global_average_pool(x, "pool1"), network.classes, name="fc1")
        x = net.activation(x, "softmax", "softmax")
    return net.model(x)


def _block(net: Builder, x: str, convs: Sequence[Conv], project: bool, name: str) -> str:
    """A block whose projection reads the block's input after norm and relu."""
    shortcut = x
    for number, (filters, kernel_size, strides) in enumerate(convs, start=1):
        x = net.relu(_norm(net, x, f"{name}bn{number}"), f"{name}relu{number}")
        if project and number == 1:
            shortcut = _conv(net, x, *projection(convs), f"{name}sc")
        if kernel_size == 3:
            x = net.zero_pad(x, 1)
        x = _conv(net, x, filters, kernel_size, strides, f"{name}conv{number}")
    return net.add([x, shortcut])


def _conv(net: Builder, x: str, filters: int, kernel_size: int, strides: int, name: str) -> str:
    return net.conv(x, filters, kernel_size, strides, padding="valid", use_bias=False, name=name)


def _norm(net: Builder, x: str, name: str, *, scale: bool = True) -> str:
    return net.norm(x, epsilon=EPSILON, axis=3, scale=scale, name=name)


CLASSIFICATION_MODELS = Family(
    key="classification-models",
    title="qubvel's classification_models, ResNet-18 to -152",
    source="qubvel/classification_models classification_models/models/resnet.py",
    assumptions=(
        "images of 224 x 224 with the top, of any size without it; batch normalization epsilon 2e-05; strides 2 in "
        "the first block of every stage but the first, on its 3x3; zero padding; softmax at the end"
    ),
    candidates=staged_candidates(NAMES, "classification_models ResNet{depth}", resnet),
)
