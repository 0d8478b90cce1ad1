"""What the published ResNets are made of and cost: the figures of the paper, and the form of our measurements.

Source: He et al. 2015 (arXiv:1512.03385v1), table 1, for images of 224 x 224.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weight_transfer.architecture import BlockKind

INPUT_SIZE = (224, 224)
BLOCK_SIZE = (56, 56)  # of figure 5's feature maps, those of conv2_x

# "FLOPs (multiply-adds)": of the convolutions and the classifier alone, to one decimal.
PUBLISHED_MULTIPLY_ADDS: Mapping[int, float] = {18: 1.8e9, 34: 3.6e9, 50: 3.8e9, 101: 7.6e9, 152: 11.3e9}
PUBLISHED_UNIT = 0.1e9  # of the last digit

# Height and width of what each row of the table gives.
OUTPUT_SIZES: Mapping[str, tuple[int, int]] = {
    "conv1": (112, 112),
    "conv2_x": (56, 56),
    "conv3_x": (28, 28),
    "conv4_x": (14, 14),
    "conv5_x": (7, 7),
    "pool": (1, 1),
}


@dataclass(frozen=True)
class NetworkPart:
    """A row of the table.

    Attributes:
        name: The paper's: ``conv1``, ``conv2_x`` to ``conv5_x``, ``pool`` (with the classifier).
        output_size: (H, W) of its output.
        channels: Of its output.
        convolutions: Of one of its blocks, such as ``3x3 64``; the shortcut's is left out.
        num_blocks: Residual blocks in it.
        num_parameters: Weights and biases.
        multiply_adds: Of one image.
    """

    name: str
    output_size: tuple[int, int]
    channels: int
    convolutions: tuple[str, ...]
    num_blocks: int
    num_parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Cost:
    """Of a whole network.

    Attributes:
        num_parameters: Weights and biases.
        multiply_adds: Of one image.
    """

    num_parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class NetworkSummary:
    """A column of the table.

    Attributes:
        depth: The number in the network's name.
        block: ``basic`` or ``bottleneck``.
        parts: From the first convolution to the classifier.
        cost: Of the whole.
        shortcut_multiply_adds: Those of the projections.
        published_multiply_adds: The paper's figure; None where its table does not have this network.
        torchvision: Its network of this depth, which strides in the 3x3; None where it is not installed.
    """

    depth: int
    block: BlockKind
    parts: tuple[NetworkPart, ...]
    cost: Cost
    shortcut_multiply_adds: int
    published_multiply_adds: float | None
    torchvision: Cost | None


@dataclass(frozen=True)
class Alternative:
    """A block or a network that one could have built.

    Attributes:
        title: What it is.
        kind: Of its blocks.
        parts: The convolutions of a block; the blocks in each stage of a network.
        num_layers: With weights, on the longest path.
        width: Channels of its output.
        num_parameters: Weights and biases.
        multiply_adds: Of one image or feature map.
    """

    title: str
    kind: BlockKind
    parts: tuple[str | int, ...]
    num_layers: int
    width: int
    num_parameters: int
    multiply_adds: int
