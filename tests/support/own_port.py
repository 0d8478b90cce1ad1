"""A port that somebody wrote by hand, of the network that `keras_own.save` saves: right, or with a mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch import BatchNorm2d
from weight_transfer import read_checkpoint

NAMES = {"bn_a": "norm"}  # the one layer that has another name here
TO_THE_BOTTOM_AND_RIGHT = (0, 1, 0, 1)


class Port(nn.Module):
    """conv_a, bn_a, act, a flatten, fc; its batch norm is called ``norm``."""

    def __init__(
        self,
        checkpoint: str | Path,
        epsilon: float = 1e-3,
        padding: tuple[int, ...] = TO_THE_BOTTOM_AND_RIGHT,
        channels_flattened_last: bool = True,
        momentum: float = 0.01,
        own_rules: bool = True,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.channels_flattened_last = channels_flattened_last
        self.conv_a = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = (BatchNorm2d if own_rules else nn.BatchNorm2d)(8, epsilon, momentum)
        self.act = nn.ReLU()
        self.fc = nn.Linear(12 * 12 * 8, 5)
        with read_checkpoint(checkpoint) as opened:
            arrays = {name: array.read() for name, array in opened.arrays.items()}
        self.load_state_dict(
            {
                "conv_a.weight": _tensor(arrays["conv_a/kernel"].transpose(3, 2, 0, 1)),
                "conv_a.bias": _tensor(arrays["conv_a/bias"]),
                "norm.weight": _tensor(arrays["bn_a/gamma"]),
                "norm.bias": _tensor(arrays["bn_a/beta"]),
                "norm.running_mean": _tensor(arrays["bn_a/moving_mean"]),
                "norm.running_var": _tensor(arrays["bn_a/moving_variance"]),
                "norm.num_batches_tracked": torch.tensor(0),
                "fc.weight": _tensor(arrays["fc/kernel"].T),
                "fc.bias": _tensor(arrays["fc/bias"]),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 5) of (N, 3, 24, 24)."""
        x = self.act(self.norm(self.conv_a(F.pad(x, self.padding))))
        if self.channels_flattened_last:
            x = x.permute(0, 2, 3, 1)
        y: Tensor = self.fc(x.flatten(1))
        return y


class Predicting(nn.Module):
    """A port that gives what Keras gives: softmax applied."""

    def __init__(self, checkpoint: str | Path) -> None:
        super().__init__()
        self.port = Port(checkpoint)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities."""
        return self.port(x).softmax(1)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def load_port() -> Port:
    """The right one."""
    return Port("model.keras")
