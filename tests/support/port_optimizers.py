"""Optimizers of people who train a port on: each right but for one thing."""

from __future__ import annotations

import numpy as np
import torch

from resnet_torch import optimizers
from resnet_torch.schedules import ExponentialDecay


class ExactPowers(optimizers.Adam):
    """The powers of the betas as they are written, not cast through float32."""

    def scalars(self, group, number, lr, step):
        beta_1, beta_2 = group["betas"]
        return (lr * np.sqrt(1 - beta_2**step) / (1 - beta_1**step),)


class SignedSGD(torch.optim.SGD):
    """Steps of one length."""

    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.grad.sign_()
        super().step(closure)


def behind(params):
    """SGD whose schedule is one step late."""
    schedule = ExponentialDecay(0.05, 3, 0.5, in_fit=True)
    return optimizers.SGD(params, lr=lambda step: schedule(max(step - 1, 0)))


def decoupled(params, lr):
    """SGD with momentum 0.5 whose weight decay of 0.05 is apart from the gradient, as in PyTorch's AdamW."""
    sgd = torch.optim.SGD(params, lr=lr, momentum=0.5)

    def decay(optimizer, args, kwargs):
        for param in optimizer.param_groups[0]["params"]:
            param.data.mul_(1 - lr * 0.05)

    sgd.register_step_pre_hook(decay)
    return sgd
