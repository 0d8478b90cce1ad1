"""Names for files that only count their layers: ``conv2d_7`` of a Keras 3 weights file."""

from __future__ import annotations

from collections.abc import Mapping

from weight_transfer.architecture import Architecture, BlockKind
from weight_transfer.checkpoint import Array
from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.graph import keras_order, layers


def counter_names(architecture: Architecture) -> dict[str, str]:
    """Returns the layer name behind each counter name, in the order in which Keras counts."""
    seen: dict[str, int] = {}
    names: dict[str, str] = {}
    for layer in keras_order(layers(architecture)):
        if not layer.weights:
            continue
        kind = snake_case(layer.class_name)
        count = seen.get(kind, 0)
        names[kind if count == 0 else f"{kind}_{count}"] = layer.name
        seen[kind] = count + 1
    return names


def counted_blocks(arrays: Mapping[str, Array]) -> tuple[BlockKind, tuple[int, ...]] | None:
    """Reads the block kind and the block counts off the convolutions' shapes, in counting order.

    A block that changes the number of channels has a projection, which Keras counts beside the
    block's last convolution; so does the first block of all.

    Returns:
        None where the shapes are not those of residual blocks.
    """
    kernels = [arrays[name].shape for name in _counted("conv2d", arrays)]
    if len(kernels) < 4 or any(len(shape) != 4 for shape in kernels):
        return None
    kind: BlockKind = "bottleneck" if kernels[1][:2] == (1, 1) else "basic"
    length = 3 if kind == "bottleneck" else 2
    counts: list[int] = []
    position, channels = 1, kernels[0][-1]
    while position + length <= len(kernels):
        ends = kernels[position + length - 1 : position + length + 1]
        out = ends[0][-1]
        if out != channels or not counts:
            if (1, 1, channels, out) not in ends or ends[-1][-1] != out:
                return None
            counts.append(1)
            position += length + 1
        else:
            counts[-1] += 1
            position += length
        channels = out
    return (kind, tuple(counts)) if position == len(kernels) else None


def _counted(kind: str, arrays: Mapping[str, Array]) -> list[str]:
    """Names of the kernels of a class, in counting order."""
    names = [kind, *(f"{kind}_{number}" for number in range(1, len(arrays)))]
    return [f"{name}/kernel" for name in names if f"{name}/kernel" in arrays]


def by_counters(arrays: Mapping[str, Array], architecture: Architecture) -> Mapping[str, Array] | None:
    """Returns the arrays under the architecture's layer names, or None if the counts differ."""
    names = counter_names(architecture)
    counters = {name.rpartition("/")[0] for name in arrays}
    if counters != set(names):
        return None
    renamed = {}
    for name, array in arrays.items():
        counter, _, role = name.rpartition("/")
        renamed[f"{names[counter]}/{role}"] = array
    return renamed
