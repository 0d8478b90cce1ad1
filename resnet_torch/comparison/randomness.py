"""Dropout, noise and random augmentation held still: what they would have drawn is noted, and nothing is drawn.

So a module runs in training mode and can still be compared number by number. Which layer drew, by which rate, and on
which tensor is compared with what Keras's layers do.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from resnet_torch.layers import LAYER_MODULES, Inputs
from weight_transfer.layer_types import Settings
from weight_transfer.parity.recorded_network import RANDOM_CLASSES, RecordedLayer

# What a forward pass calls by itself, and the Keras class that does the same.
FUNCTIONS: Mapping[Any, str] = {
    F.dropout: "Dropout",
    F.dropout1d: "SpatialDropout1D",
    F.dropout2d: "SpatialDropout2D",
    F.dropout3d: "SpatialDropout3D",
    F.alpha_dropout: "AlphaDropout",
}
UNKNOWN = ""  # the class of a module that is not ours and not PyTorch's
RELATIVE = 1e-6  # rates that a file holds in float32
AMOUNTS = ("rate", "stddev")  # of which zero draws nothing


@dataclass(frozen=True)
class Draw:
    """One call that would have drawn random numbers.

    Attributes:
        where: In words: the module's path and class, or the function.
        class_name: The Keras class that does the same, or `UNKNOWN`.
        settings: In the words of the table of layer types.
        value: What the call gave, held still.
    """

    where: str
    class_name: str
    settings: Settings
    value: Tensor

    def __str__(self) -> str:
        return f"{self.where} {_in_words(self.settings)}".rstrip()


@dataclass
class HeldStill:
    """What happened while random layers were held still.

    Attributes:
        draws: In order.
        drew: Whether random numbers were drawn all the same, by code that is not known.
    """

    draws: list[Draw]
    drew: bool = False


@contextmanager
def held_still(model: nn.Module, standing_for_random: Collection[str] = ()) -> Iterator[HeldStill]:
    """Holds every random layer of a module still, as if it were in inference mode, and notes what would have drawn.

    Args:
        model: The module, in any mode.
        standing_for_random: Paths of further modules that stand for random layers of Keras's.
    """
    held = HeldStill([])
    on_gpu = any(tensor.is_cuda for tensor in model.parameters())
    replaced: list[tuple[nn.Module, Any]] = []
    for path, module in model.named_modules():
        class_name = _class_of(module)
        if class_name is not None or path in standing_for_random:
            replaced.append((module, vars(module).get("forward")))
            still = _still(module, path, class_name or UNKNOWN, held.draws)
            module.forward = still if class_name is not None else _still_if_it_draws(module, still, held.draws, on_gpu)
    before = _random_states(on_gpu)
    try:
        with _HeldFunctions(held.draws):
            yield held
    finally:
        held.drew = any(not torch.equal(was, now) for was, now in zip(before, _random_states(on_gpu), strict=True))
        for module, own in replaced:
            del module.forward
            if own is not None:
                module.forward = own


def _random_states(on_gpu: bool) -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if on_gpu else [])]


def _class_of(module: nn.Module) -> str | None:
    """The random Keras class that a module computes."""
    for exact in (True, False):
        for class_name in sorted(RANDOM_CLASSES):
            for kind in LAYER_MODULES[class_name].read:
                if type(module) is kind or (not exact and isinstance(module, kind)):
                    return class_name
    return None


def _still(module: nn.Module, path: str, class_name: str, draws: list[Draw]) -> Callable[..., Any]:
    forward = module.forward

    def still(*arguments: Any, **named: Any) -> Any:
        modes = {part: part.training for part in module.modules()}
        module.eval()
        try:
            output = forward(*arguments, **named)
        finally:
            for part, mode in modes.items():
                part.training = mode
        if modes[module] and isinstance(output, Tensor):
            settings = _settings_of(module, class_name)
            draws.append(Draw(f"{path} ({type(module).__name__})", class_name, settings, output.detach().clone()))
        return output

    return still


def _still_if_it_draws(
    module: nn.Module, still: Callable[..., Any], draws: list[Draw], on_gpu: bool
) -> Callable[..., Any]:
    """Holds a module of an unknown class still only where its own forward pass draws, and not by a known function."""
    forward = module.forward

    def tried(*arguments: Any, **named: Any) -> Any:
        num_draws, before = len(draws), _random_states(on_gpu)
        output = forward(*(x.clone() if isinstance(x, Tensor) else x for x in arguments), **named)
        after = _random_states(on_gpu)
        if all(torch.equal(was, now) for was, now in zip(before, after, strict=True)):
            return output
        del draws[num_draws:]
        torch.set_rng_state(before[0])
        if on_gpu:
            torch.cuda.set_rng_state_all(before[1:])
        return still(*arguments, **named)

    return tried


def _settings_of(module: nn.Module, class_name: str) -> Settings:
    if class_name == UNKNOWN:
        return {}
    readers = LAYER_MODULES[class_name].read
    read = next(reader for kind, reader in readers.items() if isinstance(module, kind))
    return read(module, Inputs((), "channels_last"))


class _HeldFunctions(TorchFunctionMode):
    """Notes calls of PyTorch's dropout functions, and gives back what they were given."""

    def __init__(self, draws: list[Draw]) -> None:
        super().__init__()
        self.draws = draws

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func not in FUNCTIONS:
            return func(*args, **named)
        bound = inspect.signature(func).bind(*args, **named)
        bound.apply_defaults()
        x: Tensor = bound.arguments["input"]
        if bound.arguments["training"]:
            rate = float(bound.arguments["p"])
            self.draws.append(Draw(f"a call of {func.__name__}", FUNCTIONS[func], {"rate": rate}, x.detach().clone()))
        return x


def random_differences(
    draws: Sequence[Draw],
    expected: Sequence[tuple[str, RecordedLayer]],
    is_output: Callable[[str, Draw], bool],
    num_left_out: int,
) -> Iterator[str]:
    """Yields in words what draws otherwise than Keras's layers do.

    Args:
        draws: What would have drawn.
        expected: The calls of Keras's random layers: under which name what it returns is recorded, and the layer.
        is_output: Whether a draw was on the tensor that a call in Keras was on.
        num_left_out: How many calls of random layers are left out on purpose.
    """
    left = [draw for draw in draws if _acts(draw.settings)]
    unmet = []
    for name, layer in expected:
        if not _acts(layer.settings):
            continue
        there = [draw for draw in left if is_output(name, draw)]
        same = next((draw for draw in there if _same(draw, layer)), None)
        met = same or next(iter(there), None)
        if met is None:
            unmet.append((name, layer))
            continue
        left.remove(met)
        if same is None:
            yield f"{name} is {_keras(layer)} in Keras, and {met} here"
    for name, layer in unmet:
        elsewhere = next((draw for draw in left if _same(draw, layer)), None)
        if elsewhere is None:
            yield f"{name}, {_keras(layer)} in Keras, is missing here"
        else:
            left.remove(elsewhere)
            yield f"{name}, {_keras(layer)} in Keras, acts on another tensor here: {elsewhere}"
    for draw in left[num_left_out:]:
        yield f"{draw} draws random numbers, and no layer of Keras's does there"


def unknown_draws(draws: Sequence[Draw]) -> list[str]:
    """Returns, in words, the draws of which it is not known how much they draw."""
    return [draw.where for draw in draws if draw.class_name == UNKNOWN]


def same_numbers(actual: np.ndarray, expected: np.ndarray, error: float) -> bool:
    """Whether each example of a batch has the same numbers in any order, of any shape.

    What drops single elements does the same before and behind a flatten.

    Args:
        actual: (N, ...).
        expected: (N, ...).
        error: By how much a number may differ, of the largest.
    """
    if actual.size != expected.size or len(actual) != len(expected):
        return False
    ours, theirs = (np.sort(array.reshape(len(array), -1).astype(np.float64), axis=1) for array in (actual, expected))
    return bool(np.max(np.abs(ours - theirs), initial=0.0) <= error * np.max(np.abs(theirs), initial=0.0))


def _acts(settings: Settings) -> bool:
    return not any(settings.get(name) == 0 for name in AMOUNTS)


def _same(draw: Draw, layer: RecordedLayer) -> bool:
    if draw.class_name == UNKNOWN or not layer.settings:
        return True
    known = {name: value for name, value in layer.settings.items() if name in draw.settings}
    return draw.class_name == layer.class_name and all(_equal(draw.settings[name], known[name]) for name in known)


def _equal(actual: Any, expected: Any) -> bool:
    if isinstance(actual, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(actual) == len(expected) and all(map(_equal, actual, expected))
    if isinstance(actual, (int, float)) and isinstance(expected, (int, float)):
        return math.isclose(actual, expected, rel_tol=RELATIVE)
    return bool(actual == expected)


def _keras(layer: RecordedLayer) -> str:
    return f"{layer.class_name} {_in_words(layer.settings)}".rstrip()


def _in_words(settings: Settings) -> str:
    known = {name: value for name, value in settings.items() if name != "data_format"}
    return f"({', '.join(f'{name} {value}' for name, value in known.items())})" if known else ""
