"""A stage: one block that projects (and, after the first stage, halves), then identity blocks."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from resnet_keras.blocks import basic_conv_block, basic_identity_block, conv_block, identity_block
from weight_transfer.architecture import BlockKind, Conventions, Names
from weight_transfer.resnet.dialects import TUTORIAL

BLOCKS = {
    "basic": (basic_conv_block, basic_identity_block),
    "bottleneck": (conv_block, identity_block),
}


def stage(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    num_blocks: int,
    strides: tuple[int, int] = (2, 2),
    kind: BlockKind = "bottleneck",
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> keras.KerasTensor:
    """All blocks of one stage.

    Args:
        x: (N, H, W, C).
        middle_kernel_size: Of each block's k x k.
        filters: Output channels of a block's convolutions.
        stage: Number of the stage, from 2.
        num_blocks: How many blocks.
        strides: Of the first block; 1 in stage 2, where the stem's pool has halved already.
        kind: ``basic`` or ``bottleneck``.
        conventions: Stride placement, epsilon, bias.
        names: Layer names.

    Returns:
        (N, ceil(H / strides[0]), ceil(W / strides[1]), filters[-1]).
    """
    conv, identity = BLOCKS[kind]
    label = names.block(stage, 0)
    x = conv(x, middle_kernel_size, filters, stage, label, strides, conventions, names)
    for index in range(1, num_blocks):
        label = names.block(stage, index)
        x = identity(x, middle_kernel_size, filters, stage, label, conventions, names)
    return x
