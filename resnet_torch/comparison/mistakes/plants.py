"""What a planted mistake changes. Each function returns what changes a port of which one may do as one likes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from resnet_torch.comparison.mistakes.sites import AVERAGE_POOLS, GLOBAL_AVERAGES, MAX_POOLS, Site, partner_of
from resnet_torch.comparison.subject import Subject
from resnet_torch.layers.merges import Merge
from resnet_torch.layers.poolings import GlobalPool, SamePool
from resnet_torch.padding import pad_axes
from weight_transfer.preprocessing import PRESETS

OTHER_POOLS: dict[type[nn.Module], Any] = {
    **dict(zip(MAX_POOLS, AVERAGE_POOLS, strict=True)),
    **dict(zip(AVERAGE_POOLS, MAX_POOLS, strict=True)),
}
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


def freeze_weight(module: Any) -> None:
    """Stops a kernel from learning."""
    module.weight.requires_grad_(False)


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


def without_a_filter(weight: Tensor) -> Tensor:
    """Sets the middle filter to zero."""
    weight[len(weight) // 2] = 0
    return weight


def reshaped(weight: Tensor) -> Tensor:
    """Keras's array taken into PyTorch's shape without transposing."""
    axes = (*range(2, weight.ndim), 1, 0)
    return weight.permute(axes).contiguous().reshape(weight.shape)
