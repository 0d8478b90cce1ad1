"""What stands before a layer of an imported network, as its graph says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from resnet_torch.imported import ImportedModel, Step, steps
from resnet_torch.layers.poolings import MODULES, SamePool
from resnet_torch.layers.shapes import PADDINGS, Flatten
from weight_transfer.graph import Graph
from weight_transfer.parity.exact_runs import logits_name

NEVER_NEGATIVE = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Softmax, nn.Softplus)
PASSING_SIGNS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, Flatten, SamePool, *PADDINGS)
POOLS = (*MODULES["Max"], *MODULES["Average"])


def made_by(model: nn.Module) -> dict[str, Step]:
    """Returns by value the step of an imported network that makes it."""
    return {step.call.value: step for step in steps(model.network)} if isinstance(model, ImportedModel) else {}


def is_never_negative(model: nn.Module, made: Mapping[str, Step], values: Sequence[str]) -> bool:
    """Whether values of a network cannot be below zero, whatever its input."""
    for value in values:
        step = made.get(value)
        if step is None:
            return False
        last = model.get_submodule(step.modules[-1]) if step.modules else nn.Identity()
        passes = isinstance(last, (*PASSING_SIGNS, *POOLS))
        if not isinstance(last, NEVER_NEGATIVE) and not (passes and is_never_negative(model, made, step.call.inputs)):
            return False
    return bool(values)


def sizes_read(model: nn.Module, step: Step) -> tuple[int | None, ...]:
    """Returns the spatial sizes of what a step of an imported network reads first, None where they are free."""
    if not isinstance(model, ImportedModel):
        return ()
    network = model.network
    shape = network.layers[step.call.layer].in_shapes[0]
    return tuple(shape[:-1] if network.channels_last else shape[1:])


def flattened_shape(model: nn.Module, layer: str) -> tuple[int, ...] | None:
    """Returns the shape of the map, its channels last, that a layer reads flattened."""
    made = made_by(model)
    step = made.get(layer.removesuffix(logits_name("")))
    feeding = made.get(step.call.inputs[0]) if step is not None and step.call.inputs else None
    if feeding is None or not feeding.modules or not isinstance(model, ImportedModel):
        return None
    shape = model.network.layers[feeding.call.layer].in_shapes[0]
    is_flatten = isinstance(model.get_submodule(feeding.modules[0]), Flatten)
    known = tuple(n for n in shape if n is not None)
    return known if is_flatten and known == tuple(shape) and len(shape) > 1 else None


def needed_by(network: Graph, value: str) -> set[str]:
    """Returns a value and all that it is computed from."""
    reads = {call.value: call.inputs for call in network.calls}
    needed, waiting = {value}, [value]
    while waiting:
        new = set(reads.get(waiting.pop(), ())) - needed
        needed |= new
        waiting += new
    return needed
