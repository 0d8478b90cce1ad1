from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from resnet_torch.stem import stem
from weight_transfer.architecture import Conventions

SIZES = [(32, 32), (33, 40), (97, 46), (35, 37)]


def same_padded(x, kernel_size, value=0.0):
    """TensorFlow's 'same' at stride 2, by the remainder."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max(kernel_size - (size % 2 or 2), 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stem_padding", ["zeros", "same"])
@pytest.mark.parametrize("pool_padding", ["zeros", "same", "none"])
def test_pads_as_keras(size, stem_padding, pool_padding):
    conventions = Conventions(stem_padding=stem_padding, pool_padding=pool_padding)
    module = stem(3, 4, conventions).double().eval()
    torch.nn.init.normal_(module.conv.bias, mean=-1)  # so that whole windows of the pool are cut off by the ReLU
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    y = F.pad(x, (3, 3, 3, 3)) if stem_padding == "zeros" else same_padded(x, 7)
    y = F.relu(module.bn_conv1(F.conv2d(y, module.conv.weight, module.conv.bias, stride=2)))
    if pool_padding == "zeros":
        y = F.pad(y, (1, 1, 1, 1))  # with zeros, as Keras's ZeroPadding2D
    elif pool_padding == "same":
        y = same_padded(y, 3, value=-torch.inf)  # as TensorFlow's max pool
    expected = F.max_pool2d(y, 3, 2)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_children_carry_the_keras_names():
    names = list(dict(stem(3).named_children()))
    assert names == ["conv1_pad", "conv", "bn_conv1", "conv1_relu", "pool1"]


def test_conventions_reach_the_layers():
    module = stem(3, conventions=Conventions(epsilon=2e-5, momentum=0.9, conv_bias=False))
    assert module.conv.bias is None
    assert module.bn_conv1.eps == 2e-5
    assert module.bn_conv1.momentum == pytest.approx(0.1)
