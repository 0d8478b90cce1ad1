"""What rounding alone does to a port in training mode, which is measured where Keras's own explains no difference."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from resnet_torch import BatchNorm2d
from resnet_torch.comparison.rounding import rounded_otherwise

TRUE = 2e-4  # two units in the last place of the mean, divided by the root of epsilon


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_the_rounding_of_a_batch_norms_mean_is_taken_out(layout, spread):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 1, 1, generator=generator) + spread * torch.randn(4, 16, 64, 64, generator=generator)
    x = x.contiguous(memory_format=layout)
    norm = BatchNorm2d(16, eps=1.001e-5).train()
    expected = copy.deepcopy(norm).double()(x.double())
    plain = (norm(x) - expected).abs().max()
    with rounded_otherwise(norm, 0):
        without = (norm(x) - expected).abs().max()
    assert without < TRUE
    if layout is torch.channels_last:  # PyTorch's kernel of this layout sums one number after the other
        assert plain > 3 * without
    with rounded_otherwise(norm, 1):
        again = (norm(x) - expected).abs().max()
    assert again <= 2.1 * plain + TRUE


def test_the_hooks_are_gone_afterwards():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    x = torch.randn(1, 3, 8, 8)
    before = model(x)
    with rounded_otherwise(model, 0):
        assert not torch.equal(model(x), before)
    assert torch.equal(model(x), before)
