from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from resnet_torch.initializers import TRUNCATED_STDDEV, initialize


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_he_normal_has_the_wanted_deviation_and_ends_at_two_sigma():
    weight = initialize(nn.Conv2d(64, 128, 3), "he_normal").weight.detach().double()
    stddev = math.sqrt(2 / (3 * 3 * 64))
    assert weight.std().item() == pytest.approx(stddev, rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=0.01 * stddev)
    end = 2 * stddev / TRUNCATED_STDDEV
    assert 0.99 * end < weight.abs().max().item() <= end * (1 + 1e-6)


def test_glorot_uniform_is_even_between_its_limits():
    weight = initialize(nn.Conv2d(64, 128, 3), "glorot_uniform").weight.detach().double()
    limit = math.sqrt(6 / (9 * 64 + 9 * 128))
    assert 0.999 * limit < weight.abs().max().item() <= limit * (1 + 1e-6)
    assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3), nn.Linear(3, 4)])
def test_bias_starts_at_zero(layer):
    assert initialize(layer, "glorot_uniform") is layer
    assert not layer.bias.any()


def test_a_layer_without_bias_is_fine():
    assert initialize(nn.Conv2d(3, 4, 3, bias=False), "he_normal").bias is None


def test_the_deviation_of_a_cut_normal():
    # The variance of a standard normal cut off at c is 1 - 2 c phi(c) / (2 Phi(c) - 1).
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    assert math.sqrt(1 - 4 * density / math.erf(math.sqrt(2))) == pytest.approx(TRUNCATED_STDDEV, rel=1e-12)
