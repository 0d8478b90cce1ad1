"""The stem: everything before the first residual block."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.conv_norm import ConvNormSequential
from resnet_torch.initializers import initialize
from resnet_torch.padding import SamePad2d
from weight_transfer.architecture import Conventions, Names
from weight_transfer.resnet.dialects import TUTORIAL


def stem(
    in_channels: int,
    filters: int = 64,
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> ConvNormSequential:
    """7x7 convolution with stride 2, batch norm, ReLU, 3x3 max pool with stride 2.

    Args:
        in_channels: Channels of the images.
        filters: Output channels.
        conventions: Padding, epsilon, bias.
        names: Layer names.

    Returns:
        Takes (N, in_channels, H, W), gives (N, filters, H / 4, W / 4), rounded as the paddings say.

    Source: He et al. 2015 (arXiv:1512.03385), table 1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers[names.stem_pad] = nn.ZeroPad2d(3) if conventions.stem_padding == "zeros" else SamePad2d(7, strides=2)
    layers[names.stem_conv] = initialize(
        nn.Conv2d(in_channels, filters, 7, stride=2, bias=conventions.conv_bias),
        conventions.kernel_initializer,
    )
    layers[names.stem_norm] = BatchNorm2d(filters, eps=conventions.epsilon, momentum=1 - conventions.momentum)
    layers[names.stem_relu] = nn.ReLU()
    # Keras pads the pool with zeros, MaxPool2d with minus infinity: the same behind a ReLU, whose
    # every window holds a number of at least zero.
    if conventions.pool_padding == "same":
        layers[names.pool_pad] = SamePad2d(3, strides=2)
    padding = 1 if conventions.pool_padding == "zeros" else 0
    layers[names.pool] = nn.MaxPool2d(3, stride=2, padding=padding)
    return ConvNormSequential(layers)
