"""What a planted mistake changes. Each function returns what changes a port of which one may do as one likes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.comparison.mistakes.sites import (
    APART,
    AVERAGE_POOLS,
    GLOBAL_AVERAGES,
    KERAS_SLOPE,
    MAX_POOLS,
    TORCH_SLOPE,
    Site,
    partner_of,
)
from resnet_torch.comparison.neighbours import flattened_shape, needed_by
from resnet_torch.comparison.subject import Subject, subject_of
from resnet_torch.imported import ImportedModel
from resnet_torch.layers.activations import Formula
from resnet_torch.layers.merges import Merge
from resnet_torch.layers.poolings import FUNCTIONS, GlobalPool, SamePool
from resnet_torch.padding import pad_axes, same_pad
from resnet_torch.resnet import ACTIVATIONS
from weight_transfer.preprocessing import PRESETS

OTHER_POOLS: dict[type[nn.Module], Any] = {
    **dict(zip(MAX_POOLS, AVERAGE_POOLS, strict=True)),
    **dict(zip(AVERAGE_POOLS, MAX_POOLS, strict=True)),
}
ZERO_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
TORCH_MOMENTUM = 0.1  # of torch.nn.BatchNorm2d: Keras's 0.9
ADAPTIVE_MAX = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}

Plant = Callable[[Subject, Site], Subject]


def changed(change: Callable[[Any], nn.Module | None]) -> Plant:
    """Changes one module in place, or puts what ``change`` returns in its place."""

    def plant(subject: Subject, site: Site) -> Subject:
        module = subject.model.get_submodule(site.path)
        with torch.no_grad():
            replaced = change(module)
        if replaced is None:
            return subject
        names = {id(tensor): name for name, tensor in _state(subject.model)}
        parent, _, name = site.path.rpartition(".")
        setattr(subject.model.get_submodule(parent), name, replaced)
        # The arrays that a module around the old one now holds are still those of their layer.
        moved = {names[id(tensor)]: name for name, tensor in _state(subject.model) if id(tensor) in names}
        rows = {keras: replace(row, torch=moved.get(row.torch, row.torch)) for keras, row in subject.rows.items()}
        return replace(subject, rows=rows)

    return plant


def _state(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return model.state_dict(keep_vars=True).items()


def attribute(name: str, value: Callable[[Any], Any]) -> Plant:
    """Sets an attribute to what ``value`` makes of the module."""
    return changed(lambda module: setattr(module, name, value(module)))


def tensor(name: str, value: Callable[[Tensor], Tensor]) -> Plant:
    """Puts into a tensor what ``value`` makes of it."""

    def change(module: Any) -> None:
        held = getattr(module, name)
        held.copy_(value(held.clone()).reshape(held.shape))

    return changed(change)


def swapped(first: str, second: str) -> Plant:
    """Swaps two tensors of a module."""
    return changed(lambda module: _swap(getattr(module, first), getattr(module, second)))


def swapped_with_partner(*names: str) -> Plant:
    """Swaps these tensors, or all, with those of a module of the same shapes."""

    def plant(subject: Subject, site: Site) -> Subject:
        module = subject.model.get_submodule(site.path)
        partner = partner_of(module, subject.model)
        for name in names or tuple(module.state_dict()):
            _swap(getattr(module, name), getattr(partner, name))
        return subject

    return plant


def _swap(one: Tensor, two: Tensor) -> None:
    one.data, two.data = two.data.clone(), one.data.clone()


def stride_moved(subject: Subject, site: Site) -> Subject:
    """Lets the second of two convolutions stride in place of the first."""
    one, two = (subject.model.get_submodule(path) for path in site.path.split())
    one.stride, two.stride = two.stride, one.stride
    return subject


def preprocessed_otherwise(subject: Subject, site: Site) -> Subject:
    """Prepares images by another rule."""
    other = "torch" if subject.preprocessing == PRESETS["caffe"] else "caffe"
    return replace(subject, preprocessing=PRESETS[other])


def finished_by(what: Literal["the other"] | None) -> Plant:
    """Ends the network with softmax for sigmoid or sigmoid for softmax, or with nothing."""

    def plant(subject: Subject, site: Site) -> Subject:
        position, finish = subject.endings[site.layer]
        another = torch.sigmoid if ends_in_softmax(finish) else ACTIVATIONS["softmax"]
        endings = {**subject.endings, site.layer: (position, ACTIVATIONS["linear"] if what is None else another)}
        return replace(subject, endings=endings)

    return plant


def ends_in_softmax(finish: Any) -> bool:
    """Whether what ends a network makes shares of its logits."""
    return finish is ACTIVATIONS["softmax"] or isinstance(finish, nn.Softmax)


def flattened_otherwise(subject: Subject, site: Site) -> Subject:
    """Gives a Dense the kernel for features that were flattened with the channels first."""
    dense: Any = subject.model.get_submodule(site.path)
    *sizes, channels = flattened_shape(subject.model, site.layer) or ()
    index = torch.arange(dense.in_features).reshape(*sizes, channels).movedim(-1, 0).reshape(-1)
    with torch.no_grad():
        dense.weight.copy_(dense.weight[:, index])
    return subject


def called_in_another_order(subject: Subject, site: Site) -> Subject:
    """Calls a shared layer's last call, and what that needs, before everything else."""
    model = subject.model
    if not isinstance(model, ImportedModel):
        return subject
    network = model.network
    last = [call.value for call in network.calls if call.layer == site.layer][-1]
    needed = needed_by(network, last)
    calls = sorted(network.calls, key=lambda call: call.value not in needed)
    model._arrange(replace(network, calls=tuple(calls)))
    return replace(subject_of(model), placed=subject.placed)


def finished_twice(subject: Subject, site: Site) -> Subject:
    """Applies the last softmax or sigmoid once more."""
    position, finish = subject.endings[site.layer]
    endings = {**subject.endings, site.layer: (position, lambda x: finish(finish(x)))}
    return replace(subject, endings=endings)


# Of one module


def other_epsilon(norm: Any) -> float:
    """The epsilon of Keras's default for that of keras.applications, or the other way round."""
    return 1.001e-5 if norm.eps > 1e-4 else 1e-3


def dilate(convolution: Any) -> None:
    """Dilates twice as much, with twice the padding, so that the size stays."""
    convolution.dilation = tuple(2 * dilation for dilation in convolution.dilation)
    convolution.padding = tuple(2 * padding for padding in convolution.padding)


def freeze(name: str) -> Callable[[Any], None]:
    """Stops a parameter from learning."""

    def change(module: Any) -> None:
        getattr(module, name).requires_grad_(False)

    return change


def has_other_momentum(norm: Any) -> bool:
    """Whether a batch norm's momentum is not PyTorch's default, but for its rounding to float32."""
    return bool(abs(norm.momentum - TORCH_MOMENTUM) > APART)


def widened(pool: Any) -> int:
    """How far the largest side of a pool's window reaches when it is one larger."""
    return 1 + int(np.max(getattr(pool, "pool_size", getattr(pool, "kernel_size", 0))))


def reach(convolution: Any) -> int:
    """How far the largest side of a kernel reaches, its dilation included."""
    return int(max(1 + (n - 1) * rate for n, rate in zip(convolution.kernel_size, convolution.dilation, strict=True)))


def no_padding(convolution: Any) -> tuple[int, ...]:
    """Zero on each axis."""
    return (0,) * len(convolution.padding)


def pad_one_further(pad: Any) -> nn.Module:
    """The same number of zeros along the last axis, one more of them in front; where all are there, one fewer."""
    before, behind, *rest = pad.padding
    step = 1 if behind else -1
    moved: nn.Module = type(pad)((before + step, behind - step, *rest))
    return moved


def widen_pool(pool: Any) -> None:
    """Makes the window of a pool one larger along each axis."""
    name = "pool_size" if isinstance(pool, SamePool) else "kernel_size"
    size = getattr(pool, name)
    setattr(pool, name, size + 1 if isinstance(size, int) else type(size)(one + 1 for one in size))


def with_other_slope(module: Any) -> nn.Module:
    """A leaky ReLU with another of the slopes that frameworks have by default."""
    if isinstance(module, nn.LeakyReLU):
        return nn.LeakyReLU(_other_slope(module.negative_slope))
    slope = _other_slope(module.arguments["negative_slope"])
    return Formula(module.name, **{**module.arguments, "negative_slope": slope})


def _other_slope(slope: float) -> float:
    return TORCH_SLOPE if abs(slope - TORCH_SLOPE) > APART else KERAS_SLOPE


def without(name: str, value: Any) -> Callable[[Any], nn.Module]:
    """An activation with another constant in its formula; a ReLU6 without its largest value is a ReLU."""
    return lambda module: (
        nn.ReLU() if isinstance(module, nn.ReLU6) else Formula(module.name, **{**module.arguments, name: value})
    )


def lose_shortcut(module: Any) -> nn.Module | None:
    """Takes the shortcut out of a block, or all but the first input out of an addition."""
    if isinstance(module, Merge):
        return FirstAlone()
    module.shortcut = nn.Sequential(OrderedDict([*module.shortcut.named_children(), ("lost", Zero())]))
    return None


def pool_otherwise(module: Any) -> nn.Module | None:
    """Averages in place of taking the maximum, or the other way round."""
    if isinstance(module, GlobalPool | SamePool):
        module.kind = "Average" if module.kind == "Max" else "Max"
        return None
    if isinstance(module, GLOBAL_AVERAGES):
        return ADAPTIVE_MAX[int(type(module).__name__[-2])](module.output_size)
    pool: nn.Module = OTHER_POOLS[type(module)](module.kernel_size, module.stride, module.padding)
    return pool


class AlwaysTraining(nn.Module):
    """A batch norm that nobody can put into inference mode."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.train()

    def train(self, mode: bool = True) -> AlwaysTraining:
        """Sets training mode, whatever is asked for."""
        super().train(True)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """As the batch norm."""
        y: Tensor = self.norm(x)
        return y


class OneSided(nn.Module):
    """A convolution that pads one end only: as 'same' does where it should not, or the other way round."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.convolution = convolution
        self.total = [2 * padding for padding in convolution.padding]
        convolution.padding = (0,) * len(self.total)

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution, in shape."""
        y: Tensor = self.convolution(pad_axes(x, [(0, total) for total in self.total]))
        return y


class ZeroPadded(SamePool):
    """A pool with TensorFlow's padding 'same' to which what is added is zeros like any others."""

    def __init__(self, pool: SamePool) -> None:
        super().__init__(pool.kind, pool.pool_size, pool.strides)

    def forward(self, x: Tensor) -> Tensor:
        """As the pool, in shape."""
        pool = FUNCTIONS[self.kind][len(self.pool_size) - 1]
        return pool(same_pad(x, self.pool_size, self.strides), self.pool_size, self.strides)


class AllButOne(nn.Module):
    """An activation of all channels but the last."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """As the activation, in shape."""
        return torch.cat([self.activation(x[:, :-1]), x[:, -1:]], 1)


class Reversed(nn.Module):
    """A merge that takes its inputs in the other order."""

    def __init__(self, merge: nn.Module) -> None:
        super().__init__()
        self.merge = merge

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the merge, in shape."""
        y: Tensor = self.merge(*reversed(inputs))
        return y


class FirstAlone(nn.Module):
    """An addition that forgets what it should add."""

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Returns the first input."""
        return x


class Zero(nn.Module):
    """What a shortcut gives is lost."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns zero."""
        return x.new_zeros(())


# Of one tensor


def rounded_to_half(weight: Tensor) -> Tensor:
    """Rounds to float16."""
    return weight.half().to(weight.dtype)


def with_one_off(weight: Tensor) -> Tensor:
    """Adds a hundredth of the largest to the middle one."""
    weight.view(-1)[weight.numel() // 2] += 0.01 * weight.abs().max()
    return weight


def without_a_filter(weight: Tensor) -> Tensor:
    """Sets the middle filter to zero."""
    weight[len(weight) // 2] = 0
    return weight


def reshaped(weight: Tensor) -> Tensor:
    """Keras's array taken into PyTorch's shape without transposing."""
    axes = (*range(2, weight.ndim), 1, 0)
    return weight.permute(axes).contiguous().reshape(weight.shape)
