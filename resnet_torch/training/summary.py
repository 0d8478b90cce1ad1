"""The network's layers as a text, as ``model.summary()`` gives them in Keras."""

from __future__ import annotations

import copy

import torch
from torch import nn

from resnet_torch.anatomy.measuring import measure, num_parameters

HEADINGS = ("layer", "class", "output (C, H, W)", "parameters", "learning")


def summary_of(model: nn.Module, size: tuple[int, int]) -> str:
    """Lists every layer with its output's shape and its parameters.

    Args:
        model: With images of three channels as its input.
        size: (H, W) of the input.
    """
    bare = copy.deepcopy(model).to(device="meta", dtype=torch.float32).eval()
    shapes = measure(bare, (3, *size)).shapes
    rows = [HEADINGS]
    for name, module in model.named_modules():
        if name and not list(module.children()):
            rows.append((name, type(module).__name__, _words(shapes.get(name, ())), *_parameters(module)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total, learning = _parameters(model)
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", f"{total} parameters, {learning} learning", ""])


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[1:]))


def _parameters(module: nn.Module) -> tuple[str, str]:
    learning = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return f"{num_parameters(module):,}", f"{learning:,}"
