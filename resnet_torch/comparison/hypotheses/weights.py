"""What goes wrong with the kernel, the bias and the window of a convolution or a dense layer."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.comparison.hypotheses.divergence import Divergence, Hypothesis, run, set_tensor
from resnet_torch.comparison.neighbours import flattened_shape
from resnet_torch.comparison.subject import CONVOLUTIONS
from resnet_torch.layers.shapes import Flatten
from resnet_torch.padding import SamePad2d, pad_axes
from weight_transfer.parity.exact_runs import ExpectedDigest
from weight_transfer.parity.tolerances import TOLERANCES

PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, SamePad2d)
TELLING = 1e-6  # of the peak: by how much a channel must vary
AGREES = TOLERANCES["inference"]["float64"].error
FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def kernel_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The kernel in another layout."""
    for place, leaf in divergence.leaves(*CONVOLUTIONS, nn.Linear):
        weight = leaf.weight
        spatial = tuple(range(2, weight.ndim))
        if len(spatial) > 1 and weight.shape[2] == weight.shape[3] > 1:
            yield Hypothesis(
                "kernel transposed",
                "the kernel's height and width swapped",
                divergence.changed(place, set_tensor("weight", lambda w: w.transpose(2, 3))),
            )
        if any(weight.shape[axis] > 1 for axis in spatial):
            yield Hypothesis(
                "kernel flipped",
                "the kernel turned by 180 degrees",
                divergence.changed(place, set_tensor("weight", partial(torch.flip, dims=spatial))),
            )
        for axis in spatial if sum(weight.shape[axis] > 1 for axis in spatial) > 1 else ():
            yield Hypothesis(
                "kernel flipped",
                f"the kernel mirrored along its {('first', 'second', 'third')[axis - 2]} axis",
                divergence.changed(place, set_tensor("weight", partial(torch.flip, dims=(axis,)))),
            )
        if weight.shape[0] == weight.shape[1] and getattr(leaf, "groups", 1) == 1:
            yield Hypothesis(
                "kernel channels",
                "the kernel's inputs and outputs swapped",
                divergence.changed(place, set_tensor("weight", lambda w: w.transpose(0, 1))),
            )
        if weight.ndim > 2 or weight.shape[0] != weight.shape[1]:
            yield Hypothesis(
                "kernel reshaped",
                "the kernel transposed from Keras's axes, where it had been reshaped",
                divergence.changed(place, set_tensor("weight", _as_if_transposed)),
            )


def _as_if_transposed(weight: Tensor) -> Tensor:
    """What a transpose gives of an array that was reshaped into PyTorch's shape."""
    c_out, c_in, *size = weight.shape
    return weight.reshape(*size, c_in, c_out).movedim((-1, -2), (0, 1))


def bias_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """A bias along another axis; a constant per channel apart: what a bias adds."""
    yield from _along_the_width(divergence)
    expected = divergence.expected
    if isinstance(expected, ExpectedDigest):
        return  # which says whether two tensors differ, and not by how much
    for _, leaf in divergence.leaves(*CONVOLUTIONS, nn.Linear):
        if leaf is not divergence.chain[-1] or tuple(divergence.actual.shape) == ():
            continue
        actual = divergence.subject.to_keras(divergence.actual)
        if actual.shape != expected.shape:
            continue
        difference, channel = expected.sampled_difference(actual)
        if difference.size < 2 or not expected.peak:
            continue
        values = expected.kept[: difference.size]
        # A channel that is constant in itself tells nothing.
        telling = _spread(values, channel) > TELLING * expected.peak
        apart = np.abs(difference) > AGREES * expected.peak
        if np.any(telling[channel] & apart):
            rest = float(np.max(_spread(difference, channel)[telling]) / expected.peak)
            yield Hypothesis("bias", "a constant added to each channel: a bias is missing", partial(float, rest))


class _Along(nn.Module):
    """A bias that is added along the last axis."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Adds the bias."""
        return x + self.bias


def _along_the_width(divergence: Divergence) -> Iterator[Hypothesis]:
    """What Keras 3 does on TensorFlow to channels-first layers that are as wide as they have channels.

    Source: add in keras/src/backend/tensorflow/numpy.py, keras 3.15.1.
    """
    for place, leaf in divergence.leaves(*CONVOLUTIONS):
        width = divergence.expected_size[-1:]
        if divergence.subject.channels_last or leaf.bias is None or width != leaf.bias.shape:
            continue

        def change(module: Any) -> nn.Module:
            bias, module.bias = module.bias, None
            return nn.Sequential(module, _Along(bias))

        yield Hypothesis("bias", "its bias added along the width", divergence.changed(place, change))


def _spread(values: np.ndarray[Any, Any], channel: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """By channel, the largest value less the smallest."""
    largest = np.full(channel.max() + 1, -np.inf)
    smallest = np.full(channel.max() + 1, np.inf)
    np.maximum.at(largest, channel, values)
    np.minimum.at(smallest, channel, values)
    return np.where(np.isfinite(largest), largest - smallest, 0.0)


def partner_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The arrays of another layer of the same shape, all or one of them."""
    for place, leaf in divergence.leaves(nn.Module):
        if any(leaf.children()) or not leaf.state_dict():
            continue
        names = [name for name, _ in (*leaf.named_parameters(), *leaf.named_buffers()) if name != "num_batches_tracked"]
        peers = list(divergence.peers(leaf))
        whole = [tuple(names)] if len(names) > 1 else []
        for chosen in (*whole, *((name,) for name in names)):
            for path, peer in peers:
                which = "arrays" if len(chosen) > 1 else chosen[0]
                yield Hypothesis(
                    "partner", f"the {which} that {path} holds", divergence.changed(place, _take(peer, chosen))
                )


def file_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The arrays that the Keras file has for this layer."""
    differing: list[str] = []
    partner, is_bias = None, True
    chain = copy.deepcopy(divergence.chain)
    for path, module in zip(divergence.paths, chain, strict=True):
        for name, tensor in module.state_dict(keep_vars=True).items():
            right = divergence.right.get(f"{path}.{name}")
            held = tensor.detach().cpu().numpy()
            if right is not None and not np.array_equal(right, held):
                differing.append(name)
                partner = partner or _whose(held, divergence.right)
                is_bias &= name.endswith("bias") and isinstance(module, (*CONVOLUTIONS, nn.Linear))
                tensor.data = torch.from_numpy(right).to(tensor)
    if differing:
        text = f"the file's own {', '.join(differing)}" + (f"; it holds {partner}" if partner else "")
        cause = "partner" if partner else "bias" if is_bias else "weights"
        yield Hypothesis(cause, text, lambda: run(chain, divergence.inputs))


def _whose(held: np.ndarray[Any, Any], right: Mapping[str, np.ndarray[Any, Any]]) -> str | None:
    """The tensor that these numbers belong to."""
    if len(np.unique(held)) < 2:
        return None
    return next(
        (name for name, array in right.items() if array.shape == held.shape and np.array_equal(array, held)), None
    )


def _take(peer: nn.Module, names: Sequence[str]) -> Any:
    def change(leaf: nn.Module) -> None:
        for name in names:
            getattr(leaf, name).data = getattr(peer, name).data

    return change


def window_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """Another stride, padding or dilation: those that give the size that Keras's output has."""
    steps = list(_steps(divergence.chain))
    for number, leaf in ((number, leaf) for number, step in enumerate(steps) for leaf in step.modules()):
        if not isinstance(leaf, CONVOLUTIONS) or len(divergence.inputs) != 1:
            continue
        if any(not isinstance(module, PADS) for module in steps[:number]):
            continue  # what is computed before it is more than a padding
        own = (leaf.stride[0], leaf.dilation[0])
        after = steps[number + 1 :]
        others = set(itertools.product((1, 2, own[0]), (1, 2, own[1]) if max(leaf.kernel_size) > 1 else own[1:]))
        settings = sorted(others, key=lambda one: ((one[0] != own[0]) + (one[1] != own[1]), one))
        for x, (stride, dilation) in itertools.product(divergence.sources, settings):
            for pads in pads_that_fit(x.shape[2:], leaf.kernel_size, stride, dilation, divergence.expected_size):
                cause, text = "padding", f"padding {_pads_text(pads)}"
                if stride != own[0]:
                    cause, text = "stride", f"stride {stride} in place of {own[0]}"
                elif dilation != own[1]:
                    cause, text = "dilation", f"dilation {dilation} in place of {own[1]}"
                yield Hypothesis(cause, text, partial(_convolved, leaf, x, pads, stride, dilation, after))


def _steps(chain: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Modules one behind the other, those of sequences too."""
    for module in chain:
        if isinstance(module, nn.Sequential):
            yield from _steps(module)
        else:
            yield module


def _convolved(
    leaf: Any, x: Tensor, pads: Sequence[tuple[int, int]], stride: int, dilation: int, after: Sequence[nn.Module]
) -> Tensor:
    """A convolution by other settings, and what follows it in the layer."""
    convolve = FUNCTIONS[leaf.weight.ndim - 2]
    y: Tensor = convolve(pad_axes(x, pads), leaf.weight, leaf.bias, stride, 0, dilation, leaf.groups)
    return run(after, (y,)) if after else y


def pads_that_fit(
    size: Sequence[int], kernel: Sequence[int], stride: int, dilation: int, expected: Sequence[int]
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yields paddings (before, behind) by axis with which a window gives the expected size."""
    if len(expected) != len(size):
        return
    options = []
    for n, k, out in zip(size, kernel, expected, strict=True):
        window = (k - 1) * dilation + 1
        most = range(window + 1)
        fit = [(a, b) for a in most for b in most if abs(a - b) <= 1 and (n + a + b - window) // stride + 1 == out]
        options.append(sorted(fit, key=lambda pad: (pad[0] != pad[1], pad)))  # where two do the same, the plainer
    if any(not option for option in options):
        return
    # The same on each axis first, as most layers have it.
    yield from sorted(itertools.product(*options), key=lambda pads: len(set(pads)))
    causal = [(k - 1) * dilation for k in kernel]
    if len(size) == 1 and (size[0] + causal[0] - causal[0] - 1) // stride + 1 == expected[0]:
        yield ((causal[0], 0),)


def _pads_text(pads: Sequence[tuple[int, int]]) -> str:
    return " x ".join(f"({before}, {behind})" for before, behind in pads)


def flatten_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The features of a Dense in the order of a flattened (C, H, W) for (H, W, C), or the other way round."""
    x = divergence.inputs[0]
    if x.ndim > 2 and any(True for _ in divergence.leaves(nn.Flatten, Flatten)):
        yield Hypothesis("flatten order", "the channels flattened last", lambda: x.movedim(1, -1).flatten(1))
        yield Hypothesis("flatten order", "the channels flattened first", lambda: x.flatten(1))
    for place, leaf in divergence.leaves(nn.Linear):
        features = leaf.in_features
        for *sizes, channels in _maps(divergence, features):
            first, last = (channels, *sizes), (*sizes, channels)
            indices = (
                torch.arange(features).reshape(first).movedim(0, -1).reshape(-1),
                torch.arange(features).reshape(last).movedim(-1, 0).reshape(-1),
            )
            for index in indices:
                yield Hypothesis(
                    "flatten order",
                    f"its {features} inputs in the order of {' x '.join(map(str, last))}",
                    divergence.changed(place, set_tensor("weight", partial(_in_order, index=index))),
                )


def _maps(divergence: Divergence, features: int) -> Iterator[tuple[int, ...]]:
    """The map that was flattened, channels last: as the network says it, or any square one with so many features."""
    known = flattened_shape(divergence.subject.model, divergence.layer)
    if known is not None:
        yield known
        return
    for channels in (c for c in range(2, features) if features % c == 0 and _is_square(features // c)):
        side = round((features // channels) ** 0.5)
        yield side, side, channels


def _in_order(weight: Tensor, index: Tensor) -> Tensor:
    """A kernel whose inputs stand in another order."""
    return weight[:, index]


def _is_square(number: int) -> bool:
    return number > 1 and round(number**0.5) ** 2 == number


def transposed_input_hypotheses(divergence: Divergence) -> Iterator[Hypothesis]:
    """The input with height and width swapped."""
    x = divergence.inputs[0]
    if divergence.read_from_input is not None and x.ndim == 4:
        yield Hypothesis(
            "kernel transposed",
            "the input's height and width swapped",
            lambda: run(divergence.chain, (x.transpose(2, 3),)),
        )


def frozen_parameter(parameter: nn.Parameter, path: str) -> str | None:
    """A gradient that is missing has one cause."""
    return None if parameter.requires_grad else f"requires_grad of {path}, which is False"
