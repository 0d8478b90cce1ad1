"""The stem: everything before the first residual block."""

from __future__ import annotations

import keras
from keras import layers

from weight_transfer.architecture import Conventions, Names
from weight_transfer.resnet.dialects import TUTORIAL


def stem(
    x: keras.KerasTensor,
    filters: int = 64,
    conventions: Conventions = TUTORIAL.conventions,
    names: Names = TUTORIAL.names,
) -> keras.KerasTensor:
    """7x7 convolution with stride 2, batch norm, ReLU, 3x3 max pool with stride 2.

    Args:
        x: Images, (N, H, W, C).
        filters: Output channels.
        conventions: Padding, epsilon, bias.
        names: Layer names.

    Returns:
        (N, H / 4, W / 4, filters), rounded as the paddings say.

    Source: He et al. 2015 (arXiv:1512.03385), table 1.
    """
    padding = "same"
    if conventions.stem_padding == "zeros":
        x = layers.ZeroPadding2D(3, name=names.stem_pad)(x)
        padding = "valid"
    x = layers.Conv2D(
        filters,
        7,
        strides=2,
        padding=padding,
        use_bias=conventions.conv_bias,
        kernel_initializer=conventions.kernel_initializer,
        name=names.stem_conv,
    )(x)
    x = layers.BatchNormalization(epsilon=conventions.epsilon, momentum=conventions.momentum, name=names.stem_norm)(x)
    x = layers.ReLU(name=names.stem_relu)(x)
    if conventions.pool_padding == "zeros":
        x = layers.ZeroPadding2D(1, name=names.pool_pad)(x)
    padding = "same" if conventions.pool_padding == "same" else "valid"
    return layers.MaxPooling2D(3, strides=2, padding=padding, name=names.pool)(x)
