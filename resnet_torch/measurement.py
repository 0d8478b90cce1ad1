"""Sizes and costs of any module, read off one forward pass that computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

FLOPS_PER_MULTIPLY_ADD = 2  # PyTorch counts the multiplication and the addition, papers the pair


@dataclass(frozen=True)
class Measurement:
    """What one forward pass showed.

    Attributes:
        shapes: Output shape of each submodule by its path, ``""`` for the whole: (1, C, H, W) of a feature map.
        multiply_adds: Of each submodule by its path; one without convolution or dense layer is missing.
        num_parameters: What learns: weights and biases, no moving statistics.
    """

    shapes: Mapping[str, tuple[int, ...]]
    multiply_adds: Mapping[str, int]
    num_parameters: int


def measure(network: nn.Module, in_shape: tuple[int, int, int]) -> Measurement:
    """Runs a network once on the meta device, where tensors have shapes and no numbers.

    Multiply-adds are PyTorch's own count, of convolutions and matrix products alone, as the paper's.

    Args:
        network: Built under ``torch.device("meta")``, in inference mode.
        in_shape: (C, H, W).
    """
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, y, path=path: shapes.update({path: tuple(y.shape)}))
        for path, module in network.named_modules()
    ]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.empty(1, *in_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return Measurement(shapes, _by_path(counter, type(network).__name__), num_parameters(network))


def num_parameters(module: nn.Module) -> int:
    """Weights and biases, no moving statistics."""
    return sum(parameter.numel() for parameter in module.parameters())


def _by_path(counter: FlopCounterMode, root: str) -> dict[str, int]:
    """The counter names a module by its path behind the root's class."""
    counts = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items() if name != "Global"}
    return {name.removeprefix(root).removeprefix("."): n // FLOPS_PER_MULTIPLY_ADD for name, n in counts.items()}
