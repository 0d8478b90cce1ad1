"""The residual blocks: y = relu(F(x) + shortcut(x)).

Source: He et al. 2015 (arXiv:1512.03385), figures 2 and 5. `identity_block` and `conv_block` are
the tutorial's two functions; `basic_identity_block` and `basic_conv_block` are the two-convolution
blocks of ResNet-18 and -34.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.conv_norm import ConvNormSequential
from resnet_torch.initializers import initialize
from weight_transfer.architecture import Conventions, Names, kernel_pair
from weight_transfer.resnet.dialects import TUTORIAL


class ResidualBlock(nn.Module):
    """y = relu(F(x) + shortcut(x)).

    Where Keras connects layers by calling them, PyTorch needs a module that says how.

    Args:
        residual: F, what the block adds to its input.
        shortcut: The identity, or a projection where the shape changes.
    """

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Takes (N, C, H, W), gives what the last layer of ``residual`` gives, in shape."""
        y: Tensor = self.relu(self.residual(x) + self.shortcut(x))
        return y


def identity_block(
    in_channels: int,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> ResidualBlock:
    """Bottleneck whose shortcut is its input.

    Args:
        in_channels: Channels of the input, filters[2]. (Keras reads them off its argument ``x``.)
        middle_kernel_size: Of the middle convolution: odd, a number or a pair.
        filters: Output channels of the three convolutions.
        stage: Number of the stage, for the names.
        block: Label of the block, for the names.
        conventions: Epsilon, bias.
        names: Layer names.

    Returns:
        Takes (N, filters[2], H, W), gives the same shape.
    """
    residual = _bottleneck(in_channels, middle_kernel_size, filters, stage, block, (1, 1), conventions, names)
    return ResidualBlock(residual, shortcut=nn.Identity())


def conv_block(
    in_channels: int,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> ResidualBlock:
    """Bottleneck whose shortcut is a 1x1 convolution, for where the shape changes.

    Args:
        in_channels: Channels of the input.
        middle_kernel_size: Of the middle convolution: odd, a number or a pair.
        filters: Output channels of the three convolutions.
        stage: Number of the stage, for the names.
        block: Label of the block, for the names.
        strides: Of the block; ``conventions.stride_in`` says which convolution carries them.
        conventions: Stride placement, epsilon, bias.
        names: Layer names.

    Returns:
        Takes (N, in_channels, H, W), gives (N, filters[2], ceil(H / strides[0]), ceil(W / strides[1])).
    """
    residual = _bottleneck(in_channels, middle_kernel_size, filters, stage, block, strides, conventions, names)
    shortcut = _conv_norm(in_channels, 1, filters[2], stage, block, names.shortcut, strides, conventions, names)
    return ResidualBlock(residual, ConvNormSequential(shortcut))


def basic_identity_block(
    in_channels: int,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> ResidualBlock:
    """Two convolutions whose shortcut is their input; arguments as in `identity_block`, two filters."""
    residual = _basic(in_channels, middle_kernel_size, filters, stage, block, (1, 1), conventions, names)
    return ResidualBlock(residual, shortcut=nn.Identity())


def basic_conv_block(
    in_channels: int,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> ResidualBlock:
    """Two convolutions with a 1x1 shortcut; arguments as in `conv_block`, two filters."""
    residual = _basic(in_channels, middle_kernel_size, filters, stage, block, strides, conventions, names)
    shortcut = _conv_norm(in_channels, 1, filters[1], stage, block, names.shortcut, strides, conventions, names)
    return ResidualBlock(residual, ConvNormSequential(shortcut))


def _bottleneck(
    in_channels: int,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int],
    conventions: Conventions,
    names: Names,
) -> ConvNormSequential:
    """1x1, k x k, 1x1: F(x) of the 50, 101 and 152 layers."""
    first, middle = (strides, (1, 1)) if conventions.stride_in == "1x1" else ((1, 1), strides)
    a, b, c = names.branches
    y = _conv_norm(in_channels, 1, filters[0], stage, block, a, first, conventions, names)
    y |= _relu(stage, block, a, names)
    y |= _conv_norm(filters[0], middle_kernel_size, filters[1], stage, block, b, middle, conventions, names)
    y |= _relu(stage, block, b, names)
    y |= _conv_norm(filters[1], 1, filters[2], stage, block, c, (1, 1), conventions, names)
    return ConvNormSequential(y)


def _basic(
    in_channels: int,
    middle_kernel_size: int | tuple[int, int],
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int],
    conventions: Conventions,
    names: Names,
) -> ConvNormSequential:
    """Two k x k: F(x) of the 18 and 34 layers."""
    a, b = names.branches[:2]
    y = _conv_norm(in_channels, middle_kernel_size, filters[0], stage, block, a, strides, conventions, names)
    y |= _relu(stage, block, a, names)
    y |= _conv_norm(filters[0], middle_kernel_size, filters[1], stage, block, b, (1, 1), conventions, names)
    return ConvNormSequential(y)


def _conv_norm(
    in_channels: int,
    kernel_size: int | tuple[int, int],
    filters: int,
    stage: int,
    block: str,
    branch: str,
    strides: tuple[int, int],
    conventions: Conventions,
    names: Names,
) -> OrderedDict[str, nn.Module]:
    """A convolution and its batch norm."""
    label = {"stage": stage, "block": block, "branch": branch}
    kernel = kernel_pair(kernel_size)
    # Half a kernel on each side: Keras's 'same' where nothing strides, its own ZeroPadding2D where
    # a k x k does.
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(in_channels, filters, kernel, strides, padding, bias=conventions.conv_bias)
    return OrderedDict(
        {
            names.conv.format(**label): initialize(conv, conventions.kernel_initializer),
            names.norm.format(**label): BatchNorm2d(
                filters, eps=conventions.epsilon, momentum=1 - conventions.momentum
            ),
        }
    )


def _relu(stage: int, block: str, branch: str, names: Names) -> OrderedDict[str, nn.Module]:
    return OrderedDict({names.relu.format(stage=stage, block=block, branch=branch): nn.ReLU()})
