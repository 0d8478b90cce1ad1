"""What goes wrong with layers without arrays: activations, pools, additions, pads; and with the input."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.comparison.hypotheses.divergence import Divergence, Hypothesis, run
from resnet_torch.comparison.hypotheses.weights import PADS, pads_that_fit
from resnet_torch.comparison.layer_errors import network_inputs
from resnet_torch.layers.activations import Formula
from resnet_torch.layers.merges import OPERATIONS, Merge
from resnet_torch.layers.poolings import MODULES, GlobalPool, SamePool, padded_pool
from resnet_torch.padding import pad_axes, same_padding
from weight_transfer.layer_types.activations import rounded
from weight_transfer.preprocessing import PRESETS, Preprocessing

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "no activation": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu 0.01": partial(F.leaky_relu, negative_slope=rounded(0.01)),
    "leaky_relu 0.1": partial(F.leaky_relu, negative_slope=rounded(0.1)),
    "leaky_relu 0.2": partial(F.leaky_relu, negative_slope=rounded(0.2)),
    "leaky_relu 0.3": partial(F.leaky_relu, negative_slope=rounded(0.3)),
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu (tanh)": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid of Keras 3": F.hardsigmoid,
    "hard_sigmoid of Keras 2": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "softmax": lambda x: x.softmax(1),
}
ACTIVATION_MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softmax,
)
CLIPPED = ("negative_slope", "threshold", "max_value")
USUAL = ((0.0, *map(rounded, (0.01, 0.1, 0.2, 0.3)), 0.1, 0.2, 0.3), (0.0, 0.1, 0.5, 1.0), (None, 6.0, 1.0))
LAST = ("softmax", "sigmoid", "no activation")
POOLS = (*MODULES["Max"], *MODULES["Average"])
GLOBAL_POOLS = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip


def added_activation_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """A layer without an activation that it contains."""
    for place, leaf in divergence.leaves(*ACTIVATION_MODULES):
        text = f"no {type(leaf).__name__} in it"
        yield Hypothesis("activation", text, divergence.changed(place, lambda leaf: nn.Identity()))


def activation_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Another activation in the place of the layer, of its last module, or behind it."""
    last = divergence.chain[-1] if divergence.chain else None
    if last is not None and not any(True for _ in last.parameters()) and len(divergence.inputs) == 1:
        *before, _ = divergence.chain
        fed = run(before, divergence.inputs) if before else divergence.inputs[0]
        for name, function in ACTIVATIONS.items():
            yield Hypothesis("activation", f"{name} in place of {type(last).__name__}", partial(function, fed))
    if last is not None:
        for name, function in ACTIVATIONS.items():
            if name != "no activation":
                yield Hypothesis("activation", f"{name} behind it", partial(function, divergence.actual))


def last_activation_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """What follows the logits."""
    if divergence.layer in divergence.subject.endings and len(divergence.inputs) == 1:
        for activation in LAST:
            text = f"{activation} applied once"
            yield Hypothesis("last activation", text, partial(ACTIVATIONS[activation], divergence.inputs[0]))


def sum_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The sum of everything that feeds the layer, with and without a ReLU: a block that lost its shortcut."""
    fed = list(divergence.fed.values())
    if len(fed) < 2 or any(x.shape != fed[0].shape for x in fed):
        return
    total = torch.stack(fed).sum(0)
    names = " + ".join(divergence.fed)
    yield Hypothesis("shortcut", f"relu({names})", lambda: F.relu(total))
    yield Hypothesis("shortcut", names, lambda: total)


def pool_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Another kind of pool, or another padding of its windows."""
    x = divergence.inputs[0]
    if any(True for _ in divergence.leaves(*GLOBAL_POOLS, GlobalPool)):
        axes, shape = tuple(range(2, x.ndim)), divergence.actual.shape
        yield Hypothesis("pooling", "the average of the whole map", lambda: x.mean(axes).reshape(shape))
        yield Hypothesis("pooling", "the maximum of the whole map", lambda: x.amax(axes).reshape(shape))
    for _, leaf in divergence.leaves(*POOLS, SamePool):
        rank = x.ndim - 2
        same = isinstance(leaf, SamePool)
        kernel = tuple(leaf.pool_size) if same else _tuple(leaf.kernel_size, rank)
        stride = tuple(leaf.strides) if same else _tuple(leaf.stride, rank)
        own = leaf.kind if same else type(leaf).__name__
        held = _held_padding(leaf, x, kernel, stride)
        for pads in pads_that_fit(x.shape[2:], kernel, stride[0], 1, divergence.expected_size):
            for kind, called in (("Max", "max"), ("Average", "average")):
                same_kind = ("Max" in own) == (kind == "Max")
                yield Hypothesis(
                    "padding" if same_kind and pads != held else "pooling",
                    f"{called} pooling, padding {' x '.join(map(str, pads))}",
                    partial(padded_pool, x, kind, list(kernel), list(stride), pads),
                )


def _held_padding(leaf: Any, x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """What a pool itself adds before and behind each axis."""
    if isinstance(leaf, SamePool):
        return tuple(same_padding(*one) for one in zip(x.shape[2:], kernel, stride, strict=True))
    return tuple((padding, padding) for padding in _tuple(leaf.padding, len(kernel)))


def pool_window_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Another window of a pool."""
    for place, leaf in divergence.leaves(*POOLS, SamePool):
        name = "pool_size" if isinstance(leaf, SamePool) else "kernel_size"
        rank = divergence.inputs[0].ndim - 2
        own = _tuple(getattr(leaf, name), rank)
        for step in (-1, 1, -2, 2):
            window = [size + step for size in own]
            if min(window) > 0:
                yield Hypothesis(
                    "pooling",
                    f"a window of {' x '.join(map(str, window))}",
                    divergence.changed(place, partial(_set, name=name, value=window)),
                )


def merge_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Another operation on the inputs of a merge, or its inputs in the other order."""
    for place, leaf in divergence.leaves(Merge):
        for operation in (one for one in OPERATIONS if one != leaf.operation):
            yield Hypothesis(
                "merge",
                f"{operation} in place of {leaf.operation}",
                divergence.changed(place, partial(_set, name="operation", value=operation)),
            )
    if len(divergence.inputs) > 1:
        turned = tuple(reversed(divergence.inputs))
        yield Hypothesis("merge", "its inputs in the other order", lambda: run(divergence.chain, turned))


def _set(leaf: nn.Module, *, name: str, value: Any) -> None:
    """Sets an attribute of a module."""
    setattr(leaf, name, value)


def clipped_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """A ReLU with another slope, threshold or largest value."""
    for place, leaf in divergence.leaves(Formula, nn.ReLU, nn.LeakyReLU):
        held = _constants(leaf)
        if held is None:
            continue
        slopes, thresholds, largest = (
            dict.fromkeys((held[name], *usual)) for name, usual in zip(CLIPPED, USUAL, strict=True)
        )
        for slope, threshold, most in itertools.product(slopes, thresholds, largest):
            arguments = {"negative_slope": slope, "threshold": threshold, "max_value": most}
            yield Hypothesis(
                "activation",
                "a ReLU with " + ", ".join(f"{name} {value}" for name, value in arguments.items()),
                divergence.changed(place, partial(_clipped_relu, arguments=arguments)),
            )


def _clipped_relu(leaf: nn.Module, *, arguments: dict[str, Any]) -> nn.Module:
    """A ReLU to stand in the place of another."""
    return Formula("clipped_relu", **arguments)


def _constants(leaf: Any) -> dict[str, Any] | None:
    """What a ReLU of any kind has for slope, threshold and largest value."""
    if isinstance(leaf, Formula):
        return leaf.arguments if leaf.name == "clipped_relu" else None
    return {"negative_slope": getattr(leaf, "negative_slope", 0.0), "threshold": 0.0, "max_value": None}


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def pad_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Zeros on other sides."""
    x = divergence.inputs[0]
    if not divergence.chain or not isinstance(divergence.chain[-1], PADS):
        return
    if len(divergence.expected_size) != x.ndim - 2:
        return
    totals = [out - n for out, n in zip(divergence.expected_size, x.shape[2:], strict=True)]
    if min(totals) < 0:
        return
    halves = [tuple((total // 2, total - total // 2) for total in totals)]  # TensorFlow's 'same'
    sides = [tuple((min(n, total), total - min(n, total)) for total in totals) for n in range(max(totals) + 1)]
    for pads in dict.fromkeys(halves + sides):
        text = " x ".join(map(str, pads))
        yield Hypothesis("padding", f"padding {text}", partial(pad_axes, x, pads))


def input_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The input in another channel order, scale, or preprocessed otherwise."""
    if divergence.read_from_input is None:
        return
    x = divergence.inputs[0]
    changed: list[tuple[str, str, Callable[[], Tensor]]] = []
    if x.ndim > 2 and x.shape[1] > 1:
        changed.append(("input channels", "the input's channels in reverse", lambda: x.flip(1)))
    if divergence.case.raw and len(divergence.network_inputs) == 1:
        for name, preset in PRESETS.items():
            if preset != divergence.subject.preprocessing:
                changed.append(("preprocessing", f"{name} preprocessing", partial(_preprocessed, divergence, preset)))
    changed += [
        ("input scale", "the input divided by 255", lambda: x / 255),
        ("input scale", "the input times 255", lambda: x * 255),
    ]
    for cause, text, make in changed:
        yield Hypothesis(cause, text, partial(_run_on, divergence, make))


def _run_on(divergence: Divergence, make: Callable[[], Tensor]) -> Tensor:
    """What the layer gives of another input."""
    return run(divergence.chain, (make(),))


def _preprocessed(divergence: Divergence, how: Preprocessing) -> Tensor:
    return run(divergence.before or (), network_inputs(divergence.subject, divergence.case, how))
