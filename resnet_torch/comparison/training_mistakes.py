"""What people get wrong when they train on in PyTorch: each planted in Keras's rule, to see which run it gives."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.comparison.training_run import TrainingRun, follow, rules_of
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from weight_transfer.optimizer.classes import OPTIMIZERS

TORCH_EPSILON = 1e-8  # the default of most of torch.optim
OWN_CLASSES = {"Nadam": "NAdam"}  # PyTorch's name, where it has another


@dataclass(frozen=True)
class TrainingMistake:
    """One way to be wrong.

    Attributes:
        cause: A key of `CAUSES`.
        text: In words, what the port has.
        plant: Changes a run by Keras's rule that has not begun.
        alone: Whether it leaves nothing of Keras's rule that another mistake could change.
    """

    cause: str
    text: str
    plant: Callable[[TrainingRun], None]
    alone: bool = False


def mistakes(run: TrainingRun, rates: Sequence[float]) -> Iterator[TrainingMistake]:
    """Yields every mistake that a run by Keras's rule has a place for.

    Args:
        run: By Keras's rule.
        rates: The learning rates of the run to explain.
    """
    optimizer = rules_of(run)
    group, schedule = optimizer.param_groups[0], optimizer.defaults["lr"]
    if "eps" in group and group["eps"] != TORCH_EPSILON:
        text = f"epsilon {TORCH_EPSILON:g} for Keras's {group['eps']:g}"
        yield TrainingMistake("optimizer epsilon", text, _setting(eps=TORCH_EPSILON))
    if "amsgrad" in group:
        yield TrainingMistake("place of epsilon", "epsilon inside the correction of the bias", _epsilon_inside)
    if "eps_outside_root" in group:
        text = "epsilon outside the root, for Keras's inside"
        yield TrainingMistake("place of epsilon", text, _setting(eps_outside_root=not group["eps_outside_root"]))
    yield TrainingMistake("powers", "exact betas and decays, which Keras casts through float32", _exact)
    if group["weight_decay"]:
        yield TrainingMistake("weight decay", "the weight decay added to the gradient", _coupled)
    yield from _of_the_rate(schedule, rates)
    if callable(schedule) and group.get("momentum"):
        text = "a momentum that a change of the learning rate does not rescale"
        yield TrainingMistake("rescaled momentum", text, functools.partial(_kept_momentum, schedule=schedule))
    for name, other in (("clipnorm", "global_clipnorm"), ("global_clipnorm", "clipnorm")):
        if group[name]:
            text = f"the clipping of {other} for that of {name}"
            yield TrainingMistake("clipping", text, _setting(**{name: None, other: group[name]}))
    if any(group[name] for name in ("clipnorm", "global_clipnorm", "clipvalue")):
        nothing = dict.fromkeys(("clipnorm", "global_clipnorm", "clipvalue"))
        yield TrainingMistake("clipping", "gradients that are not clipped", _setting(**nothing))
    if any(isinstance(module, BatchNorm2d) for module in run.subject.model.modules()):
        yield TrainingMistake("moving variance", "moving variances that move by the unbiased variance", _unbiased)
    yield from _own_classes(optimizer, rates)


def _of_the_rate(schedule: Any, rates: Sequence[float]) -> Iterator[TrainingMistake]:
    """The learning rates that the other run has, in words that fit them."""
    right = [schedule(step) if callable(schedule) else schedule for step in range(len(rates) + 1)]
    wrong = next((step for step, rate in enumerate(rates) if rate != right[step]), None)
    if wrong is None:
        return
    text = f"a learning rate of {rates[wrong]:.9g} for Keras's {right[wrong]:.9g} at step {wrong + 1}"
    if list(rates) == [right[0]] * len(rates):
        text = "the first learning rate at every step"
    elif list(rates) == right[1:]:
        text = "a schedule one step ahead"
    elif list(rates) == [right[0], *right[: len(rates) - 1]]:
        text = "a schedule one step behind"
    yield TrainingMistake("learning rate", text, functools.partial(_at_rates, rates=rates))


def _own_classes(optimizer: KerasOptimizer, rates: Sequence[float]) -> Iterator[TrainingMistake]:
    """PyTorch's class of the same name, with the same arguments, and with its own epsilon."""
    name = type(optimizer).__name__
    kind = getattr(torch.optim, OWN_CLASSES.get(name, name), None)
    if kind is None:
        return
    takes = inspect.signature(kind).parameters
    own = {argument.torch_name for argument in OPTIMIZERS[name].own}
    same = {key: value for key, value in optimizer.param_groups[0].items() if key in own and key in takes}
    same["weight_decay"] = optimizer.param_groups[0]["weight_decay"] or 0
    others = [("Keras's arguments", same)]
    if "eps" in same:
        others.append(("its own epsilon", {**same, "eps": takes["eps"].default}))
    for what, arguments in others:
        plant = functools.partial(_in_its_place, kind=kind, arguments=arguments, rates=rates)
        yield TrainingMistake("optimizer", f"torch.optim.{kind.__name__} with {what}", plant, alone=True)


def _setting(**values: Any) -> Callable[[TrainingRun], None]:
    def plant(run: TrainingRun) -> None:
        for group in run.optimizer.param_groups:
            group.update(values)

    return plant


def _also(run: TrainingRun, before_step: Callable[[int], None]) -> None:
    """Does one thing more before each step."""
    already = run.before_step

    def both(step: int) -> None:
        already(step)
        before_step(step)

    run.before_step = both


def _epsilon_inside(run: TrainingRun) -> None:
    """``sqrt(v / (1 - beta_2^t)) + eps``, which is Keras's with a smaller epsilon at first."""
    eps: list[float] = []

    def before_step(step: int) -> None:
        for group in run.optimizer.param_groups:
            eps.append(group["eps"])
            group["eps"] = eps[0] * math.sqrt(1 - group["betas"][1] ** (step + 1))

    _also(run, before_step)


def _exact(run: TrainingRun) -> None:
    modules = dict.fromkeys(kind.__module__ for kind in type(run.optimizer).__mro__)
    casting = [name for name in modules if hasattr(sys.modules[name], "through_float32")]
    step = run.optimizer.step

    def exact_step() -> None:
        with ExitStack() as stack:
            for name in casting:
                stack.enter_context(mock.patch(f"{name}.through_float32", lambda number, value: number(value)))
            step()

    run.optimizer.step = exact_step  # type: ignore[method-assign, assignment]


def _coupled(run: TrainingRun) -> None:
    optimizer = rules_of(run)
    update, decay = optimizer.update, optimizer.param_groups[0]["weight_decay"]
    _setting(weight_decay=None)(run)

    def coupled_update(group: Mapping[str, Any], bucket: Any, *scalars: float) -> None:
        bucket.grads = list(torch._foreach_add(bucket.grads, bucket.params, alpha=decay))
        update(group, bucket, *scalars)

    optimizer.update = coupled_update  # type: ignore[method-assign]


def _at_rates(run: TrainingRun, rates: Sequence[float]) -> None:
    run.optimizer.defaults["lr"] = rates.__getitem__


def _kept_momentum(run: TrainingRun, schedule: Callable[[int], float]) -> None:
    """PyTorch's buffer is Keras's divided by minus the learning rate, and is not told of a new one."""

    def before_step(step: int) -> None:
        if step and schedule(step - 1):
            for slots in run.optimizer.state.values():
                slots["momentum"].mul_(schedule(step) / schedule(step - 1))

    _also(run, before_step)


def _unbiased(run: TrainingRun) -> None:
    for module in run.subject.model.modules():
        if isinstance(module, BatchNorm2d):
            module.moving_variance = "tf_keras"


def _in_its_place(run: TrainingRun, kind: Any, arguments: Mapping[str, Any], rates: Sequence[float]) -> None:
    run.optimizer = kind(run.subject.model.parameters(), lr=rates[0], **arguments)
    run.before_step = follow(run.optimizer, rates.__getitem__)
