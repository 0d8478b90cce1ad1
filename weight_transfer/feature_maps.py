"""Which values of an imported network are its feature maps: what detectors, segmenters and new heads build on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Call, Graph, Layer
from weight_transfer.layer_types import Shape

POOLINGS = ("AveragePooling", "MaxPooling")
MOVES = ("ZeroPadding", "Cropping")  # their outputs are another layer's map, a few rows larger or smaller


def feature_maps(graph: Graph) -> tuple[str, ...]:
    """Returns the last feature map of each size, in order; the last of all is the one before global pooling.

    A feature map is a value with channels and places through which everything goes that is computed from the
    image: what a block computes inside, beside its shortcut, is none.

    Args:
        graph: An imported network.

    Returns:
        Names of values, which are those of the Keras layers that give them.

    Raises:
        ArchitectureError: It is not clear which value is the last map.
    """
    shapes = graph.shapes
    on_the_way = _passed_by_all(graph, shapes)
    last = _last_map(graph, shapes, on_the_way)
    made = {call.value: graph.layers[call.layer] for call in graph.calls}
    computed = set(itertools.dropwhile(lambda value: not _has_kernel(made[value]), made))  # not the image, prepared
    by_size: dict[Shape, str] = {}
    for value in on_the_way[: on_the_way.index(last)]:
        if len(shapes[value]) > 1 and value in computed and not made[value].class_name.startswith(MOVES):
            by_size[_places(graph, shapes[value])] = value
    by_size[_places(graph, shapes[last])] = last
    kept = set(by_size.values())
    return tuple(value for value in on_the_way if value in kept)


def _has_kernel(layer: Layer) -> bool:
    return any(role.endswith("kernel") for role in layer.weights)


def _last_map(graph: Graph, shapes: dict[str, Shape], on_the_way: Sequence[str]) -> str:
    calls = {call.value: call for call in graph.calls}
    passed = [calls[value] for value in on_the_way if value in calls and len(calls[value].inputs) == 1]
    pooled = [call for call in passed if graph.layers[call.layer].class_name.startswith("Global")]
    if pooled:
        return pooled[0].inputs[0]
    flattened = [call for call in passed if len(shapes[call.value]) == 1 < len(shapes[call.inputs[0]])]
    if flattened:
        return _before_pooling(graph, shapes, calls, flattened[0].inputs[0])
    end = on_the_way[-1] if on_the_way else None
    if end is not None and graph.outputs == (end,) and len(shapes[end]) > 1 and not any(graph.final_activations):
        return end
    raise ArchitectureError(
        f"{graph.name}: no global pooling or Flatten stands between the image and all of its outputs, so that its "
        "last feature map is not clear. Take the output of the layer that you mean: "
        "model.get_submodule('its.path').register_forward_hook(...)."
    )


def _before_pooling(graph: Graph, shapes: dict[str, Shape], calls: dict[str, Call], value: str) -> str:
    """The map that a pooling to one place reads, or the map itself."""
    call = calls.get(value)
    pools = call is not None and graph.layers[call.layer].class_name.startswith(POOLINGS)
    if call is not None and pools and set(_places(graph, shapes[value])) == {1}:
        return call.inputs[0]
    return value


def _passed_by_all(graph: Graph, shapes: dict[str, Shape]) -> list[str]:
    """The values on every way from the maps among the inputs to every vector of the outputs, else to every output.

    Vectors among the inputs, as beside an image, are passed over with what is computed of them alone.
    """
    numbers = {value: number for number, value in enumerate([*graph.inputs, *(call.value for call in graph.calls)])}
    behind = {value: 1 << numbers[value] for value, shape in graph.inputs.items() if len(shape) > 1}
    for call in graph.calls:
        before = [behind[value] for value in call.inputs if value in behind]
        if before:
            common = before[0]
            for one in before[1:]:
                common &= one
            behind[call.value] = common | 1 << numbers[call.value]
    reached = [value for value in graph.outputs if value in behind]
    ends = [value for value in reached if len(shapes[value]) == 1] or reached
    if not ends:
        return []
    common = behind[ends[0]]
    for value in ends[1:]:
        common &= behind[value]
    return [value for value, number in numbers.items() if common >> number & 1]


def _places(graph: Graph, shape: Shape) -> Shape:
    """The spatial axes of a map."""
    return shape[:-1] if graph.data_format == "channels_last" else shape[1:]
