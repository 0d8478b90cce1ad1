"""The paper's table 1, measured on our networks: what stands at each size, and what it costs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from resnet_torch.anatomy import published
from resnet_torch.anatomy.measuring import Measurement, measure, num_parameters
from resnet_torch.resnet import ResNet, create_resnet
from weight_transfer.architecture import BlockKind, Head


@dataclass(frozen=True)
class Part:
    """A row of the table.

    Attributes:
        name: The paper's: ``conv1``, ``conv2_x`` to ``conv5_x``, ``pool`` (with the classifier).
        output_size: (H, W) of its output.
        channels: Of its output.
        convolutions: Of one of its blocks, such as ``3x3 64``; the shortcut's is left out.
        num_blocks: Residual blocks in it.
        num_parameters: Weights and biases.
        multiply_adds: Of one image.
    """

    name: str
    output_size: tuple[int, int]
    channels: int
    convolutions: tuple[str, ...]
    num_blocks: int
    num_parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Cost:
    """Of a whole network.

    Attributes:
        num_parameters: Weights and biases.
        multiply_adds: Of one image.
    """

    num_parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Anatomy:
    """A column of the table.

    Attributes:
        depth: The number in the network's name.
        block: ``basic`` or ``bottleneck``.
        parts: From the first convolution to the classifier.
        cost: Of the whole.
        shortcut_multiply_adds: Those of the projections.
        published_multiply_adds: The paper's figure; None where its table does not have this network.
        torchvision: Its network of this depth, which strides in the 3x3; None where it is not installed.
    """

    depth: int
    block: BlockKind
    parts: tuple[Part, ...]
    cost: Cost
    shortcut_multiply_adds: int
    published_multiply_adds: float | None
    torchvision: Cost | None


def dissect(
    depth: int, input_size: tuple[int, int] = published.INPUT_SIZE, classes: int = 1000, **options: Any
) -> Anatomy:
    """Measures the network of one depth, part by part.

    Args:
        depth: 18, 34, 50, 101 or 152.
        input_size: (H, W) of an image.
        classes: Of the classifier, the only layer of the head: as in the paper, not the tutorial's two.
        **options: As for `create_resnet`.

    Raises:
        ArchitectureError: No such network exists, or the images are too small for it.
    """
    with torch.device("meta"):
        model = create_resnet((*input_size, 3), depth=depth, head=Head(classes=classes), **options).eval()
    measured = measure(model, (3, *input_size))
    shortcuts = [n for path, n in measured.multiply_adds.items() if path.endswith(".shortcut")]
    return Anatomy(
        model.architecture.depth,
        model.architecture.block,
        tuple(_parts(model, measured)),
        Cost(measured.num_parameters, measured.multiply_adds[""]),
        sum(shortcuts),
        published.MULTIPLY_ADDS.get(depth) if input_size == published.INPUT_SIZE else None,
        _torchvision(depth, input_size, classes),
    )


def _parts(model: ResNet, measured: Measurement) -> Iterator[Part]:
    """The stem's pool belongs to conv2_x in the paper; it costs nothing, so that the stem's cost is conv1's."""
    (stem_conv,) = (path for path, module in model.stem.named_children() if isinstance(module, nn.Conv2d))
    yield _part("conv1", "stem", f"stem.{stem_conv}", model.stem, (model.stem,), measured)
    for stage, module in model.stages.named_children():
        name = f"conv{stage.removeprefix('stage')}_x"
        yield _part(name, f"stages.{stage}", f"stages.{stage}", module, tuple(module.children()), measured)
    pool = f"head.{next(iter(model.head._modules))}.0"
    yield _part("pool", "head", pool, model.head, (), measured)


def _part(
    name: str, path: str, output: str, module: nn.Module, blocks: tuple[nn.Module, ...], measured: Measurement
) -> Part:
    _, channels, height, width = measured.shapes[output]
    return Part(
        name,
        (height, width),
        channels,
        convolutions_of(blocks[-1]) if blocks else (),
        len(blocks) if name != "conv1" else 0,
        num_parameters(module),
        measured.multiply_adds[path],
    )


def convolutions_of(block: nn.Module) -> tuple[str, ...]:
    """``("1x1 64", "3x3 64", "1x1 256")`` for a bottleneck; the shortcut's is left out."""
    convolutions = (m for m in getattr(block, "residual", block).children() if isinstance(m, nn.Conv2d))
    return tuple(f"{'x'.join(map(str, conv.kernel_size))} {conv.out_channels}" for conv in convolutions)


def _torchvision(depth: int, input_size: tuple[int, int], classes: int) -> Cost | None:
    """A second opinion; torchvision's is the "v1.5", whose stride sits on the 3x3."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    from torchvision.models import get_model

    with torch.device("meta"):
        model = get_model(f"resnet{depth}", num_classes=classes).eval()
    measured = measure(model, (3, *input_size))
    return Cost(measured.num_parameters, measured.multiply_adds[""])
