from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_torch.head import head
from weight_transfer.architecture import Head


def test_the_tutorials_head():
    layers = dict(head(16).named_children())
    assert list(layers) == ["avg_pool", "dropout_01", "fc_01", "fc_01_relu", "dropout_02", "fc_final"]
    assert layers["dropout_01"].p == 0.5
    assert (layers["fc_01"].in_features, layers["fc_01"].out_features) == (16, 200)
    assert (layers["fc_final"].in_features, layers["fc_final"].out_features) == (200, 10)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_global_pooling(pooling):
    x = torch.randn(2, 16, 3, 5)
    expected = x.mean(dim=(2, 3)) if pooling == "avg" else x.amax(dim=(2, 3))
    torch.testing.assert_close(head(16, Head(pooling=pooling, classes=None))(x), expected)


def test_without_pooling_nothing_happens():
    x = torch.randn(2, 16, 3, 5)
    assert head(16, Head(pooling=None, classes=None))(x) is x


def test_without_dropout_and_hidden_layer_only_the_classifier_is_left():
    module = head(16, Head(classes=3))
    assert [name for name, _ in module.named_children()] == ["avg_pool", "fc_final"]
    assert module(torch.zeros(2, 16, 3, 5)).shape == (2, 3)


def test_dense_layers_start_like_keras():
    torch.manual_seed(0)
    dense = head(300, Head(classes=100)).fc_final
    limit = (6 / 400) ** 0.5
    assert not dense.bias.any()
    assert 0.99 * limit < dense.weight.abs().max().item() <= limit * (1 + 1e-6)
    assert isinstance(dense, nn.Linear)
