"""Convolutions before batch norms, whose biases cost nothing in training."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

BATCH_NORMS = nn.modules.batchnorm._BatchNorm


class ConvNormSequential(nn.Sequential):
    """`torch.nn.Sequential` that spares the biases of its convolutions a pass over the activations.

    A batch norm in training takes the mean of each channel away, and with it the bias of a
    convolution right before it. The bias's gradient, the sum over all places of what the batch norm
    passes back, is zero, which the sum finds but for rounding. Here it is set to zero, and the sum
    left out. Where the batch norm is frozen or in inference mode, the bias learns as any other; so it
    does where a hook could read what the convolution gives, and another loss be made of that.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Runs the layers in turn; a convolution's output has its bias, as in Keras."""
        if isinstance(x, fx.Proxy):  # a traced graph keeps a convolution as one node; its bias learns zero by the sum
            return super().forward(x)
        layers = list(self)
        for layer, following in zip_longest(layers, layers[1:]):
            normalized = isinstance(following, BATCH_NORMS) and following.training
            if normalized and isinstance(layer, nn.Conv2d) and layer.bias is not None and not _hooked(layer, following):
                y = functional_call(layer, {"bias": layer.bias.detach()}, (x,))
                x = _ZeroGradient.apply(y, layer.bias)
            else:
                x = layer(x)
        return x


def _hooked(*modules: nn.Module) -> bool:
    """Whether anything but their own forward passes sees what goes through the modules."""
    everywhere = nn.modules.module
    of_all = everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks
    return bool(of_all) or any(module._forward_hooks or module._forward_pre_hooks for module in modules)


class _ZeroGradient(torch.autograd.Function):
    """Passes its first argument on, and gives the second a gradient of zero: weight decay and slots want one."""

    @staticmethod
    def forward(x: Tensor, parameter: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (parameter,) = ctx.saved_tensors
        return gradient, torch.zeros_like(parameter)
