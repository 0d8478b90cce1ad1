from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from resnet_torch import BatchNorm2d

EPS, KERAS_MOMENTUM = 1e-3, 0.9


def layer(moving_variance="keras3", channels=3):
    torch.manual_seed(1)
    norm = BatchNorm2d(channels, EPS, 1 - KERAS_MOMENTUM, moving_variance).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def keras_step(x, mean, variance, gamma, beta, unbiased):
    """One training step as Keras's source writes it, channels last."""
    axes = (0, 1, 2)
    n = x[..., 0].size
    batch_mean, batch_variance = x.mean(axes), x.var(axes)
    y = gamma * (x - batch_mean) / np.sqrt(batch_variance + EPS) + beta
    if unbiased:
        batch_variance = batch_variance * n / max(n - 1, 1)
    mean = mean * KERAS_MOMENTUM + batch_mean * (1 - KERAS_MOMENTUM)
    variance = variance * KERAS_MOMENTUM + batch_variance * (1 - KERAS_MOMENTUM)
    return y, mean, variance


@pytest.mark.parametrize("size", [(4, 3, 5, 7), (2, 3, 1, 1), (1, 3, 1, 2), (1, 3, 1, 1)])
@pytest.mark.parametrize("moving_variance", ["keras3", "tf_keras"])
def test_several_steps_are_those_of_keras(moving_variance, size):
    norm = layer(moving_variance)
    gamma, beta, mean, variance = (
        t.detach().numpy().copy() for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    for step in range(6):
        x = torch.randn(size, dtype=torch.float64) * (1 + step) + step
        expected, mean, variance = keras_step(
            x.permute(0, 2, 3, 1).numpy(), mean, variance, gamma, beta, moving_variance == "tf_keras"
        )
        actual = norm(x).detach().permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-12)
        np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-12)
    assert norm.num_batches_tracked == 6


def test_the_two_rules_differ():
    x = torch.randn(1, 3, 1, 2, dtype=torch.float64)
    variances = []
    for rule in ("keras3", "tf_keras"):
        norm = layer(rule)
        norm(x)
        variances.append(norm.running_var)
    assert (variances[0] < variances[1]).all()


@pytest.mark.parametrize("moving_variance", ["keras3", "tf_keras"])
def test_gradients_are_those_of_torch(moving_variance):
    norm, stock = layer(moving_variance), nn.BatchNorm2d(3, EPS, 0.1).double()
    stock.load_state_dict(norm.state_dict())
    gradients = []
    for module in (norm, stock):
        x = torch.linspace(-1, 2, 3 * 24, dtype=torch.float64).sin().reshape(2, 3, 3, 4).requires_grad_()
        y = module(x) + module(2 * x)  # twice: the second step must not disturb the gradient of the first
        y.pow(3).sum().backward()
        gradients.append((x.grad, module.weight.grad, module.bias.grad))
    for actual, expected in zip(*gradients, strict=True):
        assert torch.equal(actual, expected)


def test_one_value_per_channel_gives_the_bias_and_no_gradient_to_the_input():
    norm = layer()
    x = torch.randn(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    y = norm(x)
    y.sum().backward()
    assert torch.equal(y.detach().flatten(), norm.bias.detach())
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert torch.equal(norm.weight.grad, torch.zeros(3, dtype=torch.float64))


def test_inference_is_torchs_own():
    norm, stock = layer().eval(), nn.BatchNorm2d(3, EPS).double().eval()
    stock.load_state_dict(norm.state_dict())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    before = norm.running_var.clone()
    assert torch.equal(norm(x), stock(x))
    assert torch.equal(norm.running_var, before)


def test_frozen_stays_in_inference_mode_whatever_train_says():
    norm = layer()
    norm.frozen = True
    model = nn.Sequential(norm).train()
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    model(torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert model.training
    assert not norm.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    norm.frozen = False
    assert model.train()[0].training


def test_state_dict_has_torchs_keys():
    assert list(BatchNorm2d(3).state_dict()) == list(nn.BatchNorm2d(3).state_dict())


@pytest.mark.parametrize("with_metadata", [True, False])
def test_loads_strictly_without_the_count(with_metadata):
    norm = layer()
    state = norm.state_dict()
    metadata = state._metadata
    state = OrderedDict((name, tensor) for name, tensor in state.items() if name != "num_batches_tracked")
    if with_metadata:
        state._metadata = metadata
    fresh = BatchNorm2d(3).double()
    fresh.load_state_dict(state, strict=True)
    assert torch.equal(fresh.running_var, norm.running_var)
    assert "num_batches_tracked" not in state


def test_a_meta_layer_becomes_real_when_loaded():
    state = {name: tensor for name, tensor in layer().state_dict().items() if name != "num_batches_tracked"}
    with torch.device("meta"):
        norm = BatchNorm2d(3)
    norm.load_state_dict(state, strict=True, assign=True)
    assert not any(tensor.is_meta for tensor in norm.state_dict().values())


@pytest.mark.parametrize("moving_variance", ["keras3", "tf_keras"])
def test_compiled_and_traced_training_moves_the_statistics_alike(moving_variance):
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    norm = layer(moving_variance)
    before = norm.running_var.clone()
    traced = torch.fx.symbolic_trace(layer(moving_variance))
    compiled = torch.compile(layer(moving_variance), fullgraph=True, backend="aot_eager")
    assert torch.equal(traced.running_var, before)
    expected = norm(x)
    for module in (traced, compiled):
        assert torch.equal(module(x), expected)
        assert torch.equal(module.running_mean, norm.running_mean)
        # To float64's last place: the compiler of torch 2.6 orders this product otherwise.
        torch.testing.assert_close(module.running_var, norm.running_var, rtol=1e-15, atol=0)


def test_half_precision_keeps_its_dtype():
    norm = BatchNorm2d(2)
    for size in [(2, 2, 3, 3), (1, 2, 1, 1)]:
        assert norm(torch.randn(size, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert norm.running_var.dtype == torch.float32


def test_shows_its_rule():
    expected = "BatchNorm2d(3, eps=0.001, momentum=0.1, moving_variance='tf_keras', frozen=False)"
    assert repr(layer("tf_keras")) == expected
