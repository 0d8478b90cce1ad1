"""What rounding alone does to a port's numbers: measured where they are farther from Keras's than the gate allows.

A mean that cancels, a batch norm of a channel that is the same everywhere, the slope of a saturated sigmoid: there two
right libraries differ by far more than a unit in the last place, and by how much no table knows beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.comparison.layer_errors import compare_inference, compare_training, precision
from resnet_torch.comparison.subject import Subject
from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.layers.normalizations import GroupNorm, LayerNorm
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import Check, Row
from weight_transfer.parity.sketch import Expected, Floats, sketch
from weight_transfer.parity.tolerances import ROUNDING_FACTOR
from weight_transfer.parity.verdict_text import listed

RUNS = 4  # each rounded in its own way
Rounding = Mapping[tuple[str, Check, str], float]  # by precision, check and name, as a share of the peak


def measured_rounding(
    rows: Sequence[Row], subjects: Callable[[str], Subject], recording: Recording, cases: Sequence[Case]
) -> Rounding:
    """Runs a port again where it is beyond a gate, its layers rounded otherwise, and says how far that moves it.

    Args:
        rows: What was compared.
        subjects: Returns the port in a precision, on the device of the rows.
        recording: Of the reference.
        cases: The inputs.
    """
    beyond = {
        (precision_name, "training" if row.check != "inference" else "inference")
        for row in rows
        for precision_name, limit in row.limits.items()
        if limit < row.errors[precision_name] < np.inf
    }
    found: dict[tuple[str, Check, str], float] = {}
    for precision_name in dict.fromkeys(name for name, _ in sorted(beyond)):
        subject = subjects(precision_name)
        with precision(precision_name):
            for case in (case for case in cases if (precision_name, case.check) in beyond):
                for (check, name), share in _moved(subject, recording, case).items():
                    found[precision_name, check, name] = max(share, found.get((precision_name, check, name), 0.0))
    return found


def widened(rows: Sequence[Row], rounding: Rounding) -> list[Row]:
    """Returns the rows, those beyond their gate with one that is as wide as rounding asks for."""
    return [
        replace(
            row,
            limits={
                name: max(limit, ROUNDING_FACTOR * rounding.get((name, row.check, row.name), 0.0))
                if row.errors[name] > limit
                else limit
                for name, limit in row.limits.items()
            },
        )
        for row in rows
    ]


def rounding_note(rows: Sequence[Row], wider: Sequence[Row]) -> list[str]:
    """Says which rows pass by a wider gate."""
    names = [f"{row.name} ({row.check})" for row, other in zip(rows, wider, strict=True) if row.passed != other.passed]
    if not names:
        return []
    allowed = f"{ROUNDING_FACTOR:g} times what rounding alone does to the port"
    return [f"within {allowed}, not within the gate: {listed(names)}"]


def _moved(subject: Subject, recording: Recording, case: Case) -> dict[tuple[Check, str], float]:
    """By how much each tensor moves, as a share of the reference's peak."""
    compare = compare_training if case.check == "training" else compare_inference
    own = _OwnNumbers(**{name: getattr(recording, name) for name in Recording.__dataclass_fields__})
    compare(subject, own, case, lambda check, name, error: None)
    moved: dict[tuple[Check, str], float] = {}

    def found(check: Check, name: str, error: TapError) -> None:
        if np.isfinite(error.error):
            moved[check, name] = max(error.error, moved.get((check, name), 0.0))

    for seed in range(RUNS):
        with rounded_otherwise(subject.model, seed):
            compare(subject, own, case, found)
    return moved


@dataclass(frozen=True)
class _OwnNumbers(Recording):
    """A recording that takes what the port gives first for what is expected of it from then on."""

    taken: dict[tuple[str, str, str], Floats] = field(default_factory=dict, repr=False)

    def expected(self, entry: Entry) -> Expected:
        key = entry.case, entry.check, entry.name
        detail = entry.detail(self.detail)
        if key in self.taken:
            return Expected(entry.key, entry.shape, entry.peak, self.taken[key], detail)
        return _Taking(entry.key, entry.shape, entry.peak, np.empty(0), detail, self.taken, key)


@dataclass(frozen=True)
class _Taking(Expected):
    taken: dict[tuple[str, str, str], Floats]
    name: tuple[str, str, str]

    def error(self, actual: np.ndarray[Any, Any]) -> TapError:
        if actual.shape == self.shape:
            self.taken[self.name] = sketch(actual, self.key, self.detail)
        return TapError(0.0, self.peak, self.shape)


@contextmanager
def rounded_otherwise(model: nn.Module, seed: int) -> Iterator[None]:
    """Moves every other number that a module without children gives, by chance, by a unit in its last place; and what a
    norm gives by what the rounding of its mean does to it.

    Two libraries that sum in another order round otherwise. A batch norm that is given the same number everywhere,
    such as the bias of a convolution behind a dead ReLU, divides the rounding of its mean by the root of its epsilon.
    PyTorch's kernel for channels last sums one number after the other, in float32: of 100,000 numbers the last three
    digits of the mean are lost.

    Args:
        model: The module.
        seed: Of which numbers; of 0 all rounding of a batch norm's means is taken out.
    """
    generator = torch.Generator().manual_seed(seed)

    def chosen(shape: Sequence[int]) -> Tensor:
        return torch.randint(0, 2, tuple(shape), generator=generator)

    def nudge(module: nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        unit = torch.finfo(output.dtype).eps
        share = unit * chosen(output.shape).to(output)
        if type(module) in SLOPES:
            moved: Tensor = _Activation.apply(inputs[0], output.detach() * (1 + share), SLOPES[type(module)])
            return moved.to(output.dtype)
        moved = output * (1 + share)
        if isinstance(module, BATCH_NORMS) and module.training:
            axis = getattr(module, "axis", 1)
            shift = _mean_rounding(inputs[0].detach().movedim(axis, 1), module)
            shift = shift * (2 * chosen(shift.shape).to(shift) - 1) if seed else shift
            moved = (moved.movedim(axis, -1) - shift).movedim(-1, axis)
        elif isinstance(module, (LayerNorm, GroupNorm)):
            moved = moved + unit * _shift(inputs[0].detach(), module, chosen)
        return moved.to(output.dtype)

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(nudge) for module in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Activation(torch.autograd.Function):
    """An activation whose slope is what its rounded output makes of it: of a saturated one that is all rounding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, slope: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return gradients[0] * ctx.slope(y), None, None


SLOPES: Mapping[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda y: y * (1 - y),
    nn.Tanh: lambda y: 1 - y * y,
}


def _mean_rounding(x: Tensor, norm: nn.modules.batchnorm._BatchNorm) -> Tensor:
    """By how much the rounding of each channel's mean, (C,), moves what a batch norm gives of (N, C, ...)."""
    mean, variance = torch.zeros_like(x[0].flatten(1)[:, 0] if x.ndim > 2 else x[0]), None
    if x[:, 0].numel() > 1:
        variance = torch.ones_like(mean)
        torch.nn.functional.batch_norm(x, mean, variance, training=True, momentum=1.0, eps=norm.eps)
    exact = x.double().transpose(0, 1).flatten(1)
    off = torch.where(mean == 0, 0.0, exact.mean(1) - mean) / torch.sqrt(exact.var(1, unbiased=False) + norm.eps)
    return off if norm.weight is None else off * norm.weight.detach().double()


def _shift(x: Tensor, norm: LayerNorm | GroupNorm, chosen: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """By how many units in the last place of its mean, by chance, a norm's output moves in each of its groups."""
    axes, last = (norm.axes, norm.last) if isinstance(norm, LayerNorm) else ((norm.axis,), (1,))
    moved = x.movedim(axes, last)
    groups, over = moved, last
    if isinstance(norm, GroupNorm):
        groups, over = moved.reshape(len(x), norm.num_groups, -1), (-1,)
    mean, variance = groups.mean(over, keepdim=True), groups.var(over, unbiased=False, keepdim=True)
    share = mean.abs() / torch.sqrt(variance + norm.eps) * chosen(mean.shape).to(x)
    if norm.weight is not None:
        share = share * norm.weight.detach().abs().max()
    return share.expand(groups.shape).reshape(moved.shape).movedim(last, axes)
