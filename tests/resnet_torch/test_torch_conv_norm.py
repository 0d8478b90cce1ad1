"""Biases before batch norms: what they learn, and what that costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnet_torch import optimizers, resnet18
from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.conv_norm import ConvNormSequential


def layers():
    torch.manual_seed(0)
    return [
        nn.Conv2d(3, 8, 3),
        BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
    ]


def network():
    return ConvNormSequential(*layers()).double()


def images():
    return torch.randn(2, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def backward(model):
    y = model(images())
    (y * torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape).sin()).sum().backward()
    return y


class ConvolutionBackwards(TorchDispatchMode):
    """Notes whether each convolution's backward pass sums over its places for a bias."""

    def __init__(self):
        super().__init__()
        self.sum_for_a_bias = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution_backward.default:
            self.sum_for_a_bias.append(args[-1][2])
        return function(*args, **(kwargs or {}))


def test_a_bias_before_a_batch_norm_learns_zero_and_the_rest_as_ever():
    model, plain = network(), nn.Sequential(*layers()).double()
    assert torch.equal(backward(model), backward(plain))
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name in ("0.bias", "5.bias"):
        assert torch.equal(actual.pop(name), torch.zeros_like(expected[name]))
        assert expected.pop(name).abs().max() < 1e-13
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)
    assert actual["3.bias"].abs().min() > 0  # a ReLU follows this one
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("frozen", [True, False])
def test_before_a_batch_norm_that_does_not_train_a_bias_learns(frozen):
    model, plain = network(), nn.Sequential(*layers()).double()
    for one in (model, plain):
        if frozen:
            one[1].frozen = True
            one[6].requires_grad_(False).eval()
            one[1].train()
        else:
            one.eval()
    backward(model)
    backward(plain)
    for actual, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-13, atol=1e-13)
    assert model[0].bias.grad.abs().min() > 0


def test_no_convolution_of_a_network_sums_for_its_bias():
    model = resnet18(input_size=(3, 32, 32), stem_filters=4, filters=[(4, 4), (4, 4)], block_counts=(1, 1))
    num_biases = sum(isinstance(module, nn.Conv2d) and module.bias is not None for module in model.modules())
    with ConvolutionBackwards() as seen:
        model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert seen.sum_for_a_bias == [False] * num_biases
    model.eval()
    with ConvolutionBackwards() as seen:
        model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert seen.sum_for_a_bias == [True] * num_biases


def test_hooks_see_the_convolution_with_its_bias():
    model = network()
    outputs = []
    model[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    backward(model)
    torch.testing.assert_close(outputs[0], model[0](images()), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("who", ["convolution", "batch norm", "batch norm before", "every module"])
def test_a_loss_of_what_a_hook_sees_reaches_the_bias(who):
    model, plain = network(), nn.Sequential(*layers()).double()
    for one in (model, plain):
        seen = []

        def note(module, inputs, output, one=one, seen=seen):
            if module is (one[0] if who == "convolution" else one[1]):
                seen.append(output if who == "convolution" else inputs[0])

        def note_before(module, inputs, seen=seen):
            seen.append(inputs[0])

        if who == "every module":
            handle = nn.modules.module.register_module_forward_hook(note)
        elif who == "batch norm before":
            handle = one[1].register_forward_pre_hook(note_before)
        else:
            handle = one[0 if who == "convolution" else 1].register_forward_hook(note)
        y = one(images())
        handle.remove()
        ((y * torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape).sin()).sum() + seen[0].square().sum()).backward()
    assert plain[0].bias.grad.abs().min() > 1
    torch.testing.assert_close(model[0].bias.grad, plain[0].bias.grad, rtol=1e-12, atol=1e-12)


def test_weight_decay_and_a_penalty_still_reach_the_bias():
    model = network()
    before = model[0].bias.detach().clone()
    optimizer = optimizers.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    backward(model)
    optimizer.step()
    torch.testing.assert_close(model[0].bias, before * (1 - 0.05))
    optimizer.zero_grad()
    model[0].bias.square().sum().backward()
    backward(model)
    torch.testing.assert_close(model[0].bias.grad, 2 * model[0].bias)


def test_mixed_precision_gives_the_bias_a_gradient_of_its_own_dtype():
    model = network().float()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(images().float())
    y.float().sum().backward()
    assert torch.equal(model[0].bias.grad, torch.zeros(8))
    assert model[0].weight.grad.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.9's compiler
def test_compiled_and_traced_it_trains_the_same():
    model, compiled, traced = network(), network(), network()
    expected = backward(model)
    torch.testing.assert_close(backward(torch.compile(compiled, fullgraph=True, backend="aot_eager")), expected)
    torch.testing.assert_close(backward(torch.fx.symbolic_trace(traced)), expected)
    for other in (compiled, traced):
        for actual, one in zip(other.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(actual.grad, one.grad, rtol=1e-12, atol=1e-12)
    assert torch.equal(compiled[0].bias.grad, torch.zeros(8, dtype=torch.float64))
