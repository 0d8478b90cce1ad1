"""A network at a glance: its parts, found by the residual structure, with sizes and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weight_transfer.graph import Graph, Layer
from weight_transfer.resnet.layout import ends_block

MERGES = ("Add", "Merge", "Concatenate", "Average", "Multiply", "Maximum")


@dataclass(frozen=True)
class Part:
    """The stem, a stage or the head.

    Attributes:
        name: ``stem``, ``stage2`` and so on, ``head``.
        blocks: Residual blocks in it.
        convolutions: Of one of its blocks, in words: ``1x1 64, 3x3 64, 1x1 256``.
        out_shape: Of its last layer, in Keras's layout without the batch axis.
        num_arrays: Arrays in it.
        num_parameters: Numbers in them.
        multiply_adds: Of one input, or None where the size is free.
    """

    name: str
    blocks: int
    convolutions: str
    out_shape: tuple[int | None, ...]
    num_arrays: int
    num_parameters: int
    multiply_adds: int | None


def shape_text(shape: Sequence[int | None]) -> str:
    """Returns ``56 x 56 x 256``; a question mark for a size that is free."""
    return " x ".join("?" if n is None else str(n) for n in shape)


def parts_of(network: Graph) -> list[Part]:
    """Returns the parts of a network in order.

    A ResNet's are its own. An imported network's stages are runs of additions of one output size;
    what comes before the first block is its stem, what comes after the last its head.
    """
    backbone, graph = network.architecture, network.imported
    parts = [] if backbone is None else [_part(name, blocks) for name, blocks in _of_layout(network)]
    if graph is None:
        return parts
    if backbone is not None:
        return [*parts, _part("head", [list(graph.layers.values())])]
    return [_part(name, blocks) for name, blocks in _of_graph(graph)]


def _of_layout(network: Graph) -> Iterator[tuple[str, list[list[Layer]]]]:
    parts: dict[str, list[list[Layer]]] = {}
    name, ended = "stem", False
    for path, modules in network.layout.items():
        place = modules[-1].split(".") if modules else []
        if place:
            name = place[1] if place[0] == "stages" else place[0]
        blocks = parts.setdefault(name, [[]])
        if ended and blocks[-1]:
            blocks.append([])  # the last layer closed a block
        blocks[-1].append(network.layers[path])
        ended = ends_block(modules)
    yield from parts.items()


def _of_graph(network: Graph) -> Iterator[tuple[str, list[list[Layer]]]]:
    blocks: list[list[Layer]] = [[]]
    for call in network.calls:
        layer = network.layers[call.layer]
        if layer.class_name in MERGES and len(call.inputs) > 1:
            blocks[-1].append(layer)
            blocks.append([])
        else:
            blocks[-1].append(layer)
    *residual, rest = blocks
    if not residual:
        yield "layers", [rest]
        return
    stem, residual[0] = _before_the_branch(residual[0])
    if stem:
        yield "stem", [stem]
    stages: list[list[list[Layer]]] = []
    for block in residual:
        if not stages or block[-1].out_shape != stages[-1][-1][-1].out_shape:
            stages.append([])
        stages[-1].append(block)
    for number, stage in enumerate(stages, start=2 if stem else 1):
        yield f"stage{number}", stage
    if rest:
        yield "head", [rest]


def _before_the_branch(first: list[Layer]) -> tuple[list[Layer], list[Layer]]:
    """The stem ends with the layer that is read by the first block's two branches: the input shape that repeats."""
    convolutions = [index for index, layer in enumerate(first) if _is_convolution(layer)]
    if len(convolutions) < 2:
        return [], first
    cut = convolutions[1]
    return first[:cut], first[cut:]


def _is_convolution(layer: Layer | Layer) -> bool:
    return "Conv" in layer.class_name


def _part(name: str, blocks: Sequence[Sequence[Layer | Layer]]) -> Part:
    rows = [row for block in blocks for row in block]
    costs = [row.multiply_adds for row in rows]
    residual = name not in ("stem", "head", "layers")
    return Part(
        name=name,
        blocks=len(blocks) if residual else 0,
        convolutions=", ".join(_in_words(blocks[-1])),
        out_shape=tuple(rows[-1].out_shape) if rows else (),
        num_arrays=sum(len(row.weights) for row in rows),
        num_parameters=sum(row.num_parameters for row in rows),
        multiply_adds=None if None in costs else sum(cost or 0 for cost in costs),
    )


def _in_words(rows: Iterable[Layer | Layer]) -> Iterator[str]:
    """``7x7 64 /2`` for a convolution of 64 channels and stride 2; ``10`` for a dense layer."""
    for row in rows:
        kernel = next((shape for role, shape in _shapes(row).items() if role.endswith("kernel")), None)
        if kernel is None:
            continue
        width = row.out_shape[-1]
        strides = _settings(row).get("strides", [1])
        stride = max(strides) if isinstance(strides, (list, tuple)) else strides
        size = "x".join(str(n) for n in kernel[:-2])
        yield f"{size} {width}".strip() + (f" /{stride}" if stride > 1 else "")


def _shapes(row: Layer | Layer) -> dict[str, tuple[int, ...]]:
    return {role: weight.shape for role, weight in row.weights.items()}


def _settings(row: Layer | Layer) -> dict[str, Any]:
    return dict(row.config if isinstance(row, Layer) else row.settings)
