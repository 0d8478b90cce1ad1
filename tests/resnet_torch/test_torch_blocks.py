from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_torch import basic_conv_block, basic_identity_block, conv_block, identity_block
from weight_transfer.architecture import Conventions
from weight_transfer.resnet.dialects import KERAS_APPLICATIONS

BUILDERS = [
    pytest.param(identity_block, (4, 4, 16), 16, id="identity_block"),
    pytest.param(conv_block, (4, 4, 16), 8, id="conv_block"),
    pytest.param(basic_identity_block, (16, 16), 16, id="basic_identity_block"),
    pytest.param(basic_conv_block, (16, 16), 8, id="basic_conv_block"),
]


def names_of(module):
    return [name for name, _ in module.named_children()]


def test_an_identity_block_reads_like_the_tutorials_table():
    block = identity_block(16, 3, [4, 4, 16], stage=2, block="b")
    assert names_of(block.residual) == [
        "res2b_branch2a",
        "bn2b_branch2a",
        "res2b_branch2a_relu",
        "res2b_branch2b",
        "bn2b_branch2b",
        "res2b_branch2b_relu",
        "res2b_branch2c",
        "bn2b_branch2c",
    ]
    assert isinstance(block.shortcut, nn.Identity)
    assert names_of(conv_block(8, 3, [4, 4, 16], 2, "a").shortcut) == ["res2a_branch1", "bn2a_branch1"]


def test_names_follow_the_dialect():
    block = basic_conv_block(8, 3, [4, 4], 3, "1", names=KERAS_APPLICATIONS.names)
    assert names_of(block.residual)[0] == "conv3_block1_1_conv"
    assert names_of(block.shortcut) == ["conv3_block1_0_conv", "conv3_block1_0_bn"]


@pytest.mark.parametrize(("build", "filters", "in_channels"), BUILDERS)
@pytest.mark.parametrize("middle_kernel_size", [1, 3, 5, (3, 5)])
@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_output_shape(build, filters, in_channels, middle_kernel_size, size):
    block = build(in_channels, middle_kernel_size, filters, 3, "a").eval()
    y = block(torch.randn(1, in_channels, *size))
    strides = 1 if "identity" in build.__name__ else 2
    assert y.shape == (1, 16, -(-size[0] // strides), -(-size[1] // strides))


@pytest.mark.parametrize(("build", "filters", "in_channels"), BUILDERS)
def test_where_the_residual_is_zero_the_shortcut_is_the_block(build, filters, in_channels):
    block = build(in_channels, 3, filters, 2, "b").eval()
    nn.init.zeros_(block.residual[-1].weight)  # the gamma of the last batch norm
    x = torch.rand(2, in_channels, 6, 6, requires_grad=True)
    y = block(x)
    assert torch.equal(y, F.relu(block.shortcut(x)))
    if isinstance(block.shortcut, nn.Identity):
        assert torch.equal(y, x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(gradient, torch.ones_like(x))


@pytest.mark.parametrize(("stride_in", "first", "middle"), [("1x1", (2, 2), (1, 1)), ("3x3", (1, 1), (2, 2))])
def test_conventions_say_which_convolution_strides(stride_in, first, middle):
    block = conv_block(8, 3, [4, 4, 16], 3, "a", conventions=Conventions(stride_in=stride_in))
    convs = [module for module in block.residual if isinstance(module, nn.Conv2d)]
    assert [conv.stride for conv in convs] == [first, middle, (1, 1)]
    assert block.shortcut[0].stride == (2, 2)


def test_a_basic_block_strides_in_its_first_convolution_and_pads_both_sides():
    block = basic_conv_block(1, (3, 5), [1, 1], 3, "a")
    assert block.residual[0].stride == (2, 2)
    assert block.residual[0].padding == (1, 2)
    assert block.residual[3].stride == (1, 1)


def test_strides_of_one_keep_the_size():
    assert conv_block(8, 3, [4, 4, 16], 2, "a", strides=(1, 1)).eval()(torch.zeros(1, 8, 5, 6)).shape[2:] == (5, 6)


def test_conventions_reach_the_layers():
    block = identity_block(8, 3, [4, 4, 8], 2, "b", Conventions(epsilon=2e-5, momentum=0.9, conv_bias=False))
    assert all(module.bias is None for module in block.modules() if isinstance(module, nn.Conv2d))
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {2e-5}
    assert [norm.momentum for norm in norms] == [pytest.approx(0.1)] * 3
