"""A network at a glance: its parts, found by the residual structure, with sizes and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weight_transfer.architecture import Architecture
from weight_transfer.graph import Layer, layers
from weight_transfer.layer_graph import GraphLayer, LayerGraph
from weight_transfer.network import Network, backbone_of, graph_of

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


def parts_of(network: Network) -> list[Part]:
    """Returns the parts of a network in order.

    A ResNet's are its own. An imported network's stages are runs of additions of one output size;
    what comes before the first block is its stem, what comes after the last its head.
    """
    backbone, graph = backbone_of(network), graph_of(network)
    parts = [] if backbone is None else [_part(name, blocks) for name, blocks in _of_architecture(backbone)]
    if graph is None:
        return parts
    if backbone is not None:
        return [*parts, _part("head", [list(graph.layers.values())])]
    return [_part(name, blocks) for name, blocks in _of_graph(graph)]


def _of_architecture(architecture: Architecture) -> Iterator[tuple[str, list[list[Layer]]]]:
    parts: dict[str, list[list[Layer]]] = {}
    name = "stem"
    for row in layers(architecture)[1:]:
        path = (row.module or row.tap or "").split(".")
        name = path[1] if path[0] == "stages" else path[0] or name
        blocks = parts.setdefault(name, [[]])
        if blocks[-1] and blocks[-1][-1].ends_block:
            blocks.append([])  # the last layer closed a block
        blocks[-1].append(row)
    yield from parts.items()


def _of_graph(network: LayerGraph) -> Iterator[tuple[str, list[list[GraphLayer]]]]:
    blocks: list[list[GraphLayer]] = [[]]
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
    stages: list[list[list[GraphLayer]]] = []
    for block in residual:
        if not stages or block[-1].out_shape != stages[-1][-1][-1].out_shape:
            stages.append([])
        stages[-1].append(block)
    for number, stage in enumerate(stages, start=2 if stem else 1):
        yield f"stage{number}", stage
    if rest:
        yield "head", [rest]


def _before_the_branch(first: list[GraphLayer]) -> tuple[list[GraphLayer], list[GraphLayer]]:
    """The stem ends with the layer that is read by the first block's two branches: the input shape that repeats."""
    convolutions = [index for index, layer in enumerate(first) if _is_convolution(layer)]
    if len(convolutions) < 2:
        return [], first
    cut = convolutions[1]
    return first[:cut], first[cut:]


def _is_convolution(layer: Layer | GraphLayer) -> bool:
    return "Conv" in layer.class_name


def _part(name: str, blocks: Sequence[Sequence[Layer | GraphLayer]]) -> Part:
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


def _in_words(rows: Iterable[Layer | GraphLayer]) -> Iterator[str]:
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


def _shapes(row: Layer | GraphLayer) -> dict[str, tuple[int, ...]]:
    if isinstance(row, Layer):
        return dict(row.weights)
    return {role: weight.shape for role, weight in row.weights.items()}


def _settings(row: Layer | GraphLayer) -> dict[str, Any]:
    return dict(row.config if isinstance(row, Layer) else row.settings)
