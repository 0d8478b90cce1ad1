"""The network's layers as a text, as ``model.summary()`` gives them in Keras."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from resnet_torch.inference import inference
from resnet_torch.measurement import num_parameters
from weight_transfer.errors import ArchitectureError

Shapes = Mapping[str, tuple[int, ...]]
HEADINGS = ("layer", "class", "output (C, H, W)", "parameters", "learning")


def output_shapes(model: nn.Module, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each layer's output, without the batch axis, by its path; ``""`` for the whole.

    Args:
        model: Given one black image, in inference mode; on the CPU.
        size: (H, W) of the image.

    Raises:
        ArchitectureError: It does not take such an image.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[path] = tuple(output.shape[1:])

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: note(path, output))
        for path, module in model.named_modules()
    ]
    try:
        with inference(model):
            model(torch.zeros(1, 3, *size, dtype=next(model.parameters()).dtype))
    except (RuntimeError, TypeError) as error:
        raise ArchitectureError(
            f"the network does not take images of 3 x {size[0]} x {size[1]} ({str(error).splitlines()[0]}). "
            "Expected one with one input, for images of three channels."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def check_outputs(shapes: Shapes, classes: int, place: str) -> None:
    """Refuses a network that does not give one number for each class.

    Args:
        shapes: What `output_shapes` gave.
        classes: How many the data has.
        place: Where the network is from.

    Raises:
        ArchitectureError: It does not.
    """
    if shapes.get("") != (classes,):
        found = shapes.get("", "several outputs")
        raise ArchitectureError(f"{place}: its output is {found}. Expected ({classes},), as the data has classes.")


def summary_of(model: nn.Module, shapes: Shapes) -> str:
    """Lists every layer with its output's shape and its parameters.

    Args:
        model: The network.
        shapes: What `output_shapes` gave.
    """
    rows = [HEADINGS]
    for name, module in model.named_modules():
        if name and not list(module.children()):
            rows.append((name, type(module).__name__, " x ".join(map(str, shapes.get(name, ()))), *_counts(module)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total, learning = _counts(model)
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", f"{total} parameters, {learning} learning", ""])


def _counts(module: nn.Module) -> tuple[str, str]:
    learning = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return f"{num_parameters(module):,}", f"{learning:,}"
