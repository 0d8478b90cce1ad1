"""The residual blocks: y = relu(F(x) + shortcut(x)).

Source: He et al. 2015 (arXiv:1512.03385), figures 2 and 5. `identity_block` and `conv_block` are
the tutorial's two functions; `basic_identity_block` and `basic_conv_block` are the two-convolution
blocks of ResNet-18 and -34.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from weight_transfer.architecture import Conventions, Names, kernel_pair
from weight_transfer.resnet.dialects import TUTORIAL


def identity_block(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> keras.KerasTensor:
    """Bottleneck whose shortcut is its input.

    Args:
        x: (N, H, W, filters[2]).
        middle_kernel_size: Of the middle convolution: odd, a number or a pair.
        filters: Output channels of the three convolutions.
        stage: Number of the stage, for the names.
        block: Label of the block, for the names.
        conventions: Epsilon, bias.
        names: Layer names.

    Returns:
        (N, H, W, filters[2]).
    """
    y = _bottleneck(x, middle_kernel_size, filters, stage, block, (1, 1), conventions, names)
    return _add(x, y, stage, block, names)


def conv_block(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> keras.KerasTensor:
    """Bottleneck whose shortcut is a 1x1 convolution, for where the shape changes.

    Args:
        x: (N, H, W, C).
        middle_kernel_size: Of the middle convolution: odd, a number or a pair.
        filters: Output channels of the three convolutions.
        stage: Number of the stage, for the names.
        block: Label of the block, for the names.
        strides: Of the block; ``conventions.stride_in`` says which convolution carries them.
        conventions: Stride placement, epsilon, bias.
        names: Layer names.

    Returns:
        (N, ceil(H / strides[0]), ceil(W / strides[1]), filters[2]).
    """
    y = _bottleneck(x, middle_kernel_size, filters, stage, block, strides, conventions, names)
    shortcut = _conv_norm(x, 1, filters[2], stage, block, names.shortcut, strides, conventions, names)
    return _add(shortcut, y, stage, block, names)


def basic_identity_block(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> keras.KerasTensor:
    """Two convolutions whose shortcut is their input; arguments as in `identity_block`, two filters."""
    y = _basic(x, middle_kernel_size, filters, stage, block, (1, 1), conventions, names)
    return _add(x, y, stage, block, names)


def basic_conv_block(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> keras.KerasTensor:
    """Two convolutions with a 1x1 shortcut; arguments as in `conv_block`, two filters."""
    y = _basic(x, middle_kernel_size, filters, stage, block, strides, conventions, names)
    shortcut = _conv_norm(x, 1, filters[1], stage, block, names.shortcut, strides, conventions, names)
    return _add(shortcut, y, stage, block, names)


def _bottleneck(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int],
    conventions: Conventions,
    names: Names,
) -> keras.KerasTensor:
    """1x1, k x k, 1x1: F(x) of the 50, 101 and 152 layers."""
    first, middle = (strides, (1, 1)) if conventions.stride_in == "1x1" else ((1, 1), strides)
    a, b, c = names.branches
    y = _conv_norm(x, 1, filters[0], stage, block, a, first, conventions, names)
    y = _relu(y, stage, block, a, names)
    y = _conv_norm(y, middle_kernel_size, filters[1], stage, block, b, middle, conventions, names)
    y = _relu(y, stage, block, b, names)
    return _conv_norm(y, 1, filters[2], stage, block, c, (1, 1), conventions, names)


def _basic(
    x: keras.KerasTensor,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int],
    conventions: Conventions,
    names: Names,
) -> keras.KerasTensor:
    """K x k, k x k: F(x) of the 18 and 34 layers."""
    a, b = names.branches[:2]
    y = _conv_norm(x, middle_kernel_size, filters[0], stage, block, a, strides, conventions, names)
    y = _relu(y, stage, block, a, names)
    return _conv_norm(y, middle_kernel_size, filters[1], stage, block, b, (1, 1), conventions, names)


def _conv_norm(
    x: keras.KerasTensor,
    kernel_size: int | tuple[int, int],
    filters: int,
    stage: int,
    block: str,
    branch: str,
    strides: tuple[int, int],
    conventions: Conventions,
    names: Names,
) -> keras.KerasTensor:
    """A convolution and its batch norm."""
    label = {"stage": stage, "block": block, "branch": branch}
    kernel = kernel_pair(kernel_size)
    padding = "same"
    if max(strides) > 1 and max(kernel) > 1:
        # Symmetric, as Caffe and the paper pad; 'same' would put the odd one at the bottom and right.
        x = layers.ZeroPadding2D((kernel[0] // 2, kernel[1] // 2), name=names.pad.format(**label))(x)
        padding = "valid"
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=conventions.conv_bias,
        kernel_initializer=conventions.kernel_initializer,
        name=names.conv.format(**label),
    )(x)
    return layers.BatchNormalization(
        epsilon=conventions.epsilon, momentum=conventions.momentum, name=names.norm.format(**label)
    )(x)


def _relu(x: keras.KerasTensor, stage: int, block: str, branch: str, names: Names) -> keras.KerasTensor:
    return layers.ReLU(name=names.relu.format(stage=stage, block=block, branch=branch))(x)


def _add(shortcut: keras.KerasTensor, y: keras.KerasTensor, stage: int, block: str, names: Names) -> keras.KerasTensor:
    """Adds the shortcut, then ReLU. The order of the inputs is the order in which Keras lists the layers."""
    inputs = [shortcut, y] if names.shortcut_first else [y, shortcut]
    y = layers.Add(name=names.add.format(stage=stage, block=block))(inputs)
    return layers.ReLU(name=names.out.format(stage=stage, block=block))(y)
