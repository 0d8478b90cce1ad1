"""What the networks are made of and cost, measured: the paper's table 1, and what the bottleneck saves."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from resnet_torch.blocks import ResidualBlock, basic_identity_block, identity_block
from resnet_torch.measurement import Measurement, measure, num_parameters
from resnet_torch.resnet import ResNet, create_resnet
from weight_transfer.architecture import DEPTHS, BlockKind, Head, standard_filters
from weight_transfer.network_summary import (
    BLOCK_SIZE,
    INPUT_SIZE,
    PUBLISHED_MULTIPLY_ADDS,
    Alternative,
    Cost,
    NetworkPart,
    NetworkSummary,
)
from weight_transfer.parity.protocol import SummaryRequest, SummaryResult
from weight_transfer.progress import OnProgress, steps

# 24 basic blocks are 50 layers; spread over the stages as ResNet-50's 16 are, what is left over
# where it is cheap.
FIFTY_LAYERS_OF_BASIC = (5, 6, 9, 4)


def summarize(request: SummaryRequest, on_progress: OnProgress) -> SummaryResult:
    """Measures the networks of some depths, and what one could have built in the place of bottlenecks.

    Args:
        request: Which depths, at which size.
        on_progress: Called with the share that is done.

    Raises:
        ArchitectureError: The images are too small for a network.
    """
    progress = steps(len(request.depths) + 1, on_progress)
    networks = []
    for depth in request.depths:
        networks.append(summary_of_depth(depth, request.input_size, request.classes, stride_in=request.stride_in))
        next(progress)
    return SummaryResult(tuple(networks), tuple(alternative_blocks()), tuple(alternative_networks()))


def summary_of_depth(
    depth: int, input_size: tuple[int, int] = INPUT_SIZE, classes: int = 1000, **options: Any
) -> NetworkSummary:
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
    return NetworkSummary(
        model.architecture.depth,
        model.architecture.block,
        tuple(_parts(model, measured)),
        Cost(measured.num_parameters, measured.multiply_adds[""]),
        sum(shortcuts),
        PUBLISHED_MULTIPLY_ADDS.get(depth) if input_size == INPUT_SIZE else None,
        _torchvision(depth, input_size, classes),
    )


def _parts(model: ResNet, measured: Measurement) -> Iterator[NetworkPart]:
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
) -> NetworkPart:
    _, channels, height, width = measured.shapes[output]
    return NetworkPart(
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


def alternative_blocks() -> list[Alternative]:
    """The two blocks of the paper's figure 5, and the basic one at the bottleneck's width, on 56 x 56.

    Source: He et al. 2015 (arXiv:1512.03385), figure 5.
    """
    return [
        _block("basic", "basic", basic_identity_block, (64, 64)),
        _block("bottleneck", "bottleneck", identity_block, (64, 64, 256)),
        _block("basic, as wide", "basic", basic_identity_block, (256, 256)),
    ]


def _block(title: str, kind: BlockKind, build: Callable[..., ResidualBlock], filters: Sequence[int]) -> Alternative:
    with torch.device("meta"):
        block = build(filters[-1], 3, filters, 2, "b").eval()
    measured = measure(block, (filters[-1], *BLOCK_SIZE))
    return Alternative(
        title,
        kind,
        convolutions_of(block),
        len(filters),
        filters[-1],
        measured.num_parameters,
        measured.multiply_adds[""],
    )


def alternative_networks() -> list[Alternative]:
    """ResNet-50 and what one could have built of basic blocks in its place, at 224 x 224."""
    kind, counts = DEPTHS[50]
    narrow = standard_filters("basic", len(counts))
    wide = tuple((filters[-1],) * 2 for filters in standard_filters(kind, len(counts)))
    return [
        _network("ResNet-34, basic", "basic", DEPTHS[34][1], narrow),
        _network("ResNet-50, bottleneck", kind, counts, standard_filters(kind, len(counts))),
        _network("basic, as deep", "basic", FIFTY_LAYERS_OF_BASIC, narrow),
        _network("basic, as wide", "basic", counts, wide),
        _network("basic, as deep, as wide", "basic", FIFTY_LAYERS_OF_BASIC, wide),
    ]


def _network(title: str, kind: BlockKind, counts: tuple[int, ...], filters: tuple[tuple[int, ...], ...]) -> Alternative:
    with torch.device("meta"):
        model = create_resnet((*INPUT_SIZE, 3), head=Head(), block=kind, block_counts=counts, filters=filters).eval()
    measured = measure(model, (3, *INPUT_SIZE))
    return Alternative(
        title,
        kind,
        counts,
        model.architecture.depth,
        filters[-1][-1],
        measured.num_parameters,
        measured.multiply_adds[""],
    )
