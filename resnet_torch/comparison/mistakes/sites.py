"""Where a mistake can be planted: rules that find the modules of a port, in the order of execution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from resnet_torch.blocks import ResidualBlock
from resnet_torch.comparison.neighbours import flattened_shape, is_never_negative, made_by, needed_by, sizes_read
from resnet_torch.comparison.subject import CONVOLUTIONS, Subject
from resnet_torch.imported import ImportedModel, Step, steps
from resnet_torch.layers.activations import Formula
from resnet_torch.layers.merges import Concatenate, Merge
from resnet_torch.layers.poolings import MODULES as POOLS
from resnet_torch.layers.poolings import SamePool
from resnet_torch.layers.shapes import Flatten
from resnet_torch.padding import same_padding
from resnet_torch.resnet import ACTIVATIONS
from weight_transfer.parity.exact_runs import logits_name

MAX_POOLS, AVERAGE_POOLS = POOLS["Max"], POOLS["Average"]
TORCH_SLOPE, KERAS_SLOPE = 0.01, 0.3  # of leaky ReLUs by default
APART = 1e-6  # two constants: float32 tells them apart
ORDERED = ("subtract", "divide")  # merges whose inputs have an order
GLOBAL_AVERAGES = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


@dataclass(frozen=True)
class Site:
    """Where a mistake can be planted.

    Attributes:
        layer: Keras name of the first layer that then differs.
        path: Of the module that is changed; empty for the whole.
    """

    layer: str
    path: str = ""


Sites = Callable[[Subject], Iterator[Site]]


def modules(*kinds: type[nn.Module], where: Callable[[Any], bool] = lambda module: True) -> Sites:
    """Every module of these classes for which ``where`` holds; a shared one where it is called first."""

    def sites(subject: Subject) -> Iterator[Site]:
        for layer, tap in subject.taps.items():
            for path in tap.modules if tap.call == 0 else ():
                for inner, module in subject.model.get_submodule(path).named_modules():
                    if isinstance(module, kinds) and where(module):
                        yield Site(layer, f"{path}.{inner}" if inner else path)

    return sites


def last_of_layer(*kinds: type[nn.Module]) -> Sites:
    """Modules of these classes that no activation follows in their layer."""

    def sites(subject: Subject) -> Iterator[Site]:
        return (site for site in modules(*kinds)(subject) if site.path == subject.taps[site.layer].modules[-1])

    return sites


def with_partner(*kinds: type[nn.Module]) -> Sites:
    """Modules that another could be mistaken for; the earlier of the two is the first that differs."""

    def sites(subject: Subject) -> Iterator[Site]:
        found = {site.path: site.layer for site in modules(*kinds)(subject)}
        order = list(found.values())
        paths = {id(module): path for path, module in subject.model.named_modules()}
        for path, layer in found.items():
            partner = partner_of(subject.model.get_submodule(path), subject.model)
            other = None if partner is None else found.get(paths[id(partner)])
            if other is not None:
                yield Site(min(layer, other, key=order.index), path)

    return sites


def partner_of(module: nn.Module, model: nn.Module) -> nn.Module | None:
    """Another module of the same class and shapes with other numbers."""
    own = module.state_dict()
    for other in model.modules():
        state = other.state_dict() if type(other) is type(module) and other is not module else {}
        same_shapes = {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}
        if state and same_shapes and any(not torch.equal(state[name], own[name]) for name in own):
            return other
    return None


def first_convolution(subject: Subject) -> Iterator[Site]:
    """The convolution that reads the image, where the image has colours."""
    found = next(modules(*CONVOLUTIONS)(subject), None)
    convolution = None if found is None else subject.model.get_submodule(found.path)
    if found is not None and isinstance(convolution, CONVOLUTIONS) and convolution.in_channels > 1:
        yield found


def strided(subject: Subject) -> Iterator[Site]:
    """Convolutions that stride, each with the one that alone reads it and does not stride."""
    for site in modules(*CONVOLUTIONS)(subject):
        one = subject.model.get_submodule(site.path)
        following = _next_convolution(subject.model, site.path)
        two = None if following is None else subject.model.get_submodule(following)
        if isinstance(one, CONVOLUTIONS) and isinstance(two, CONVOLUTIONS) and max(one.stride) > max(two.stride) == 1:
            yield Site(site.layer, f"{site.path} {following}")


def _next_convolution(model: nn.Module, path: str) -> str | None:
    """The convolution that follows on the same branch."""
    if isinstance(model, ImportedModel):
        return _following_convolution(model, path)
    parent, _, name = path.rpartition(".")
    siblings = list(model.get_submodule(parent).named_children())
    later = siblings[[child for child, _ in siblings].index(name) + 1 :]
    return next((f"{parent}.{child}" for child, module in later if isinstance(module, CONVOLUTIONS)), None)


def _following_convolution(model: ImportedModel, path: str) -> str | None:
    """The convolution of a graph that is reached by values that one call alone reads, and no other value beside it."""
    readers: dict[str, list[Step]] = {}
    for reader in steps(model.network):
        for value in reader.call.inputs:
            readers.setdefault(value, []).append(reader)
    step = next((one for one in steps(model.network) if path in one.modules), None)
    while (
        step is not None and len(readers.get(step.call.value, ())) == 1 and step.call.value not in model.network.outputs
    ):
        (step,) = readers[step.call.value]
        if len(step.call.inputs) > 1:
            return None
        if step.modules and isinstance(model.get_submodule(step.modules[0]), CONVOLUTIONS):
            return step.modules[0]
    return None


def blocks(subject: Subject) -> Iterator[Site]:
    """Residual blocks: the additions of a graph, the blocks of a ResNet."""
    for layer, tap in subject.taps.items():
        if not tap.modules or tap.call > 0:
            continue
        path = tap.modules[-1]
        module = subject.model.get_submodule(path)
        parent = path.rpartition(".")[0]
        if isinstance(module, Merge) and module.operation == "add":
            yield Site(layer, path)
        elif parent and isinstance(subject.model.get_submodule(parent), ResidualBlock):
            yield Site(layer, parent)


def reading_negatives(sites: Sites) -> Sites:
    """Those of some places whose layer may be given a number below zero."""

    def found(subject: Subject) -> Iterator[Site]:
        made = made_by(subject.model)
        for site in sites(subject):
            step = made.get(site.layer)
            reads = step.call.inputs if step is not None and step.modules[0] == site.path else ()
            if not is_never_negative(subject.model, made, reads):
                yield site

    return found


def sloped(subject: Subject) -> Iterator[Site]:
    """Leaky ReLUs, those with a largest value or a threshold too."""
    return modules(nn.LeakyReLU, Formula, where=_has_slope)(subject)


def _has_slope(module: Any) -> bool:
    return isinstance(module, nn.LeakyReLU) or bool(module.arguments.get("negative_slope"))


def clipped(name: str) -> Sites:
    """ReLUs that have a threshold, or a largest value."""
    return modules(
        Formula,
        nn.ReLU6,
        where=lambda module: name == "max_value" if isinstance(module, nn.ReLU6) else _has(module, name),
    )


def _has(formula: Formula, name: str) -> bool:
    return formula.name == "clipped_relu" and bool(formula.arguments.get(name))


def ordered_merges(subject: Subject) -> Iterator[Site]:
    """Merges of different values whose result depends on their order."""
    made = made_by(subject.model)
    for site in modules(Merge, Concatenate, where=_has_order)(subject):
        inputs = made[site.layer].call.inputs
        if inputs != tuple(reversed(inputs)):
            yield site


def _has_order(merge: Any) -> bool:
    return isinstance(merge, Concatenate) or merge.operation in ORDERED


def padding_pools(subject: Subject) -> Iterator[Site]:
    """Pools whose own padding may matter: a maximum of what may be negative, or any average."""
    made = made_by(subject.model)
    for site in modules(SamePool, where=pools_many)(subject):
        pool: Any = subject.model.get_submodule(site.path)
        call = made[site.layer].call
        sizes = sizes_read(subject.model, made[site.layer])
        pads = zip(sizes, pool.pool_size, pool.strides, strict=True)
        if any(n is None or sum(same_padding(n, window, stride)) for n, window, stride in pads) and (
            pool.kind == "Average" or not is_never_negative(subject.model, made, call.inputs)
        ):
            yield site


def dense_behind_flatten(subject: Subject) -> Iterator[Site]:
    """Dense layers that read a flattened map of several places and channels."""
    for site in modules(nn.Linear)(subject):
        shape = flattened_shape(subject.model, site.layer)
        if shape and shape[-1] > 1 and math.prod(shape[:-1]) > 1:
            yield site


def fitting(sites: Sites, window: Callable[[Any], int]) -> Sites:
    """Those of some places whose layer reads at least so many numbers along each axis, where the network says so."""

    def found(subject: Subject) -> Iterator[Site]:
        made = made_by(subject.model)
        for site in sites(subject):
            step = made.get(site.layer.removesuffix(logits_name("")))
            sizes = () if step is None else sizes_read(subject.model, step)
            if all(n is None or n >= window(subject.model.get_submodule(site.path)) for n in sizes):
                yield site

    return found


def moving(sites: Sites) -> Sites:
    """Those of some places where a call of the layer leaves its mode to the model."""

    def found(subject: Subject) -> Iterator[Site]:
        network = subject.model.network if isinstance(subject.model, ImportedModel) else None
        calls = () if network is None else network.calls
        still = {call.layer for call in calls if call.training is False}
        still -= {call.layer for call in calls if call.training is not False}
        return (site for site in sites(subject) if site.layer not in still)

    return found


def called_twice(*kinds: Any) -> Sites:
    """Layers that are called more than once, the last time on what no earlier call is needed for."""

    def sites(subject: Subject) -> Iterator[Site]:
        if not isinstance(subject.model, ImportedModel):
            return
        network = subject.model.network
        for site in modules(*kinds)(subject):
            values = [call.value for call in network.calls if call.layer == site.layer]
            if len(values) > 1 and not needed_by(network, values[-1]) & set(values[:-1]):
                yield site

    return sites


def flattened_maps(subject: Subject) -> Iterator[Site]:
    """Flattens of more than one place, whose order matters."""
    network: Any = subject.model
    layers = network.network.layers
    for site in modules(Flatten)(subject):
        if math.prod(n or 2 for n in layers[site.layer].in_shapes[0][:-1]) > 1:
            yield site


def whole(subject: Subject) -> Iterator[Site]:
    """The whole port, whose first layer differs."""
    yield Site(next(iter(subject.taps)))


def endings(subject: Subject) -> Iterator[Site]:
    """What turns logits into what Keras returns, where that is more than the logits."""
    for layer, (_, finish) in subject.endings.items():
        if finish is not ACTIVATIONS["linear"]:
            yield Site(layer)


# Which modules


def has_square_window(module: Any) -> bool:
    """Whether a convolution's kernel can be transposed in height and width."""
    return bool(module.weight.ndim == 4 and module.kernel_size[0] == module.kernel_size[1] > 1)


def is_wide(module: Any) -> bool:
    """Whether a convolution sees more than one place."""
    return bool(max(module.kernel_size) > 1)


def is_wide_on_many_axes(module: Any) -> bool:
    """Whether a convolution sees more than one place along its last axis, and along another."""
    return bool(module.kernel_size[-1] > 1 and max(module.kernel_size[:-1], default=1) > 1)


def pads(module: Any) -> bool:
    """Whether a convolution pads by itself."""
    return type(module) in CONVOLUTIONS and not isinstance(module.padding, str) and max(module.padding) > 0


def is_square(module: Any) -> bool:
    """Whether a kernel has as many inputs as outputs."""
    return bool(module.weight.shape[0] == module.weight.shape[1])


def has_bias(module: Any) -> bool:
    """Whether there is a bias that does something."""
    return module.bias is not None and bool(module.bias.any())


def is_affine(module: Any) -> bool:
    """Whether a normalization has gamma and beta."""
    return module.weight is not None and module.bias is not None


def is_fused(module: Any) -> bool:
    """Whether a batch norm's moving variance follows one of Keras's rules."""
    return bool(getattr(module, "fused", True))


def pools_many(module: Any) -> bool:
    """Whether a pool's window has more than one place; of one that adapts to its input, whether it is the whole map."""
    if isinstance(module, GLOBAL_AVERAGES):
        return module.output_size in (1, (1,), (1, 1), (1, 1, 1))
    window = getattr(module, "pool_size", getattr(module, "kernel_size", 2))
    return bool(np.max(window) > 1)


def changes(name: str, value: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Whether ``value`` makes another tensor of this one."""

    def where(module: Any) -> bool:
        held = getattr(module, name)
        return held is not None and not torch.equal(value(held.detach().clone()).reshape(held.shape), held)

    return where
