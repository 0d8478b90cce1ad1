"""The layer at which two models part, by itself: its modules, what it was fed, what it should have given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.comparison.subject import Subject
from weight_transfer.parity.exact_runs import ExpectedDigest
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.sketch import Expected

Change = Callable[[nn.Module], nn.Module | None]


@dataclass(frozen=True)
class Hypothesis:
    """One known mistake, and what the layer would give without it.

    Attributes:
        cause: Key of `CAUSES`.
        text: What was changed, in words that follow "it agrees with".
        output: Computes the layer's output with the change, or its error where only that is known.
    """

    cause: str
    text: str
    output: Callable[[], Tensor | float]


@dataclass(frozen=True)
class Divergence:
    """The first layer that differs.

    Attributes:
        subject: The port.
        layer: Keras name.
        paths: Of the modules that compute it.
        inputs: What the first of them was fed.
        actual: What the last of them gave.
        expected: What Keras gave.
        fed: Output of each layer that feeds it.
        case: The inputs of the network.
        network_inputs: The same as the port took them.
        training: Whether batch norms were to be in training mode.
        right: The tensors that the Keras file's arrays make, by name in the state dict, where they are at hand.
        before: Modules between the network's input and the layer, if these are none or hold no parameters, as a
            padding; None where the layer is further in.
    """

    subject: Subject
    layer: str
    paths: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    actual: Tensor
    expected: Expected | ExpectedDigest
    fed: Mapping[str, Tensor]
    case: Case
    network_inputs: Sequence[Tensor]
    training: bool
    right: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    before: tuple[nn.Module, ...] | None = None

    @property
    def chain(self) -> list[nn.Module]:
        """The modules that compute it."""
        return [self.subject.model.get_submodule(path) for path in self.paths]

    @property
    def read_from_input(self) -> Tensor | None:
        """The input of the network that it reads, if it does."""
        if self.before is None or len(self.inputs) != 1:
            return None
        return next((x for x in self.network_inputs if torch.equal(run(self.before, (x,)), self.inputs[0])), None)

    @property
    def sources(self) -> list[Tensor]:
        """What the layer may have read: its input, and that before a function padded it."""
        before = list(self.fed.values()) or list(self.network_inputs)
        unpadded = [x for x in before if len(before) == 1 and x.ndim == self.inputs[0].ndim]
        return [self.inputs[0], *(x for x in unpadded if x.shape != self.inputs[0].shape)]

    @property
    def expected_size(self) -> tuple[int, ...]:
        """Height and width, or what spatial axes there are, that Keras gave."""
        return self.expected.shape[1:-1] if self.subject.channels_last else self.expected.shape[2:]

    def leaves(self, *kinds: type[nn.Module]) -> Iterator[tuple[tuple[int, str], Any]]:
        """Yields the modules of these kinds in the chain, each with its place."""
        for position, module in enumerate(self.chain):
            for path, leaf in module.named_modules():
                if isinstance(leaf, kinds):
                    yield (position, path), leaf

    def changed(self, place: tuple[int, str], change: Change) -> Callable[[], Tensor]:
        """What the layer gives with one module changed, or replaced by what ``change`` returns."""

        def output() -> Tensor:
            chain = copy.deepcopy(self.chain)
            position, path = place
            leaf = chain[position].get_submodule(path)
            replaced = change(leaf)
            if replaced is not None and path:
                parent, _, name = path.rpartition(".")
                setattr(chain[position].get_submodule(parent), name, replaced)
            elif replaced is not None:
                chain[position] = replaced
            return run(chain, self.inputs)

        return output

    def peers(self, leaf: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Other modules of the port with arrays of the same names and shapes."""
        shapes = {name: tensor.shape for name, tensor in leaf.state_dict().items()}
        for path, module in self.subject.model.named_modules():
            if module is leaf or type(module) is not type(leaf):
                continue
            if {name: tensor.shape for name, tensor in module.state_dict().items()} == shapes:
                yield path, module


def run(chain: Sequence[nn.Module], inputs: Sequence[Tensor]) -> Tensor:
    """Runs modules one behind the other; of none, the input itself."""
    x: Tensor = chain[0](*inputs) if chain else inputs[0]
    for module in chain[1:]:
        x = module(x)
    return x


def set_tensor(name: str, value: Callable[[Tensor], Tensor]) -> Change:
    """A change of one tensor of a module."""

    def change(leaf: nn.Module) -> None:
        tensor = getattr(leaf, name)
        tensor.data = value(tensor.data).contiguous()

    return change
