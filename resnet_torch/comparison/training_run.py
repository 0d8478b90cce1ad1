"""The port, trained on the batches that Keras was trained on."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnet_torch.comparison.layer_errors import loss_of, network_inputs, training_mode
from resnet_torch.comparison.port_comparison import subject_for_comparison
from resnet_torch.comparison.subject import Subject, flat
from resnet_torch.loading import load_model
from resnet_torch.optimizers import optimizer_from_keras
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from weight_transfer.errors import TransferError, VerificationError
from weight_transfer.optimizer.grammar import parse_call
from weight_transfer.parity.recording import Entry, Recording


@dataclass
class TrainingRun:
    """A port in training.

    Attributes:
        subject: The port, in float64.
        optimizer: Of its parameters.
        before_step: Called with the step, from 0, when the gradients are there.
        losses: Of the steps so far.
        rates: Learning rates of the steps so far.
    """

    subject: Subject
    optimizer: torch.optim.Optimizer
    before_step: Callable[[int], None] = lambda step: None
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def go(self, recording: Recording, num_steps: int, on_step: Callable[[], object] = lambda: None) -> TrainingRun:
        """Trains for so many steps more, batch norms alone in training mode: what a dropout leaves out is chance."""
        with training_mode(self.subject.model):
            for step in range(len(self.losses), len(self.losses) + num_steps):
                case = recording.cases[step]
                self.optimizer.zero_grad()
                logits = flat(self.subject.model(*network_inputs(self.subject, case)))
                loss = loss_of(self.subject, logits, case.labels)
                torch.autograd.backward(loss)
                self.before_step(step)
                self.optimizer.step()
                self.losses.append(loss.item())
                self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
                on_step()
        return self

    def array(self, entry: Entry) -> np.ndarray:
        """What is at the place of a recorded weight, slot or statistic, in Keras's layout; empty where nothing is."""
        name, _, slot = entry.name.rpartition(" ") if entry.check == "slots" else (entry.name, "", "")
        row = self.subject.rows.get(name)
        tensor = None if row is None else self.subject.model.state_dict(keep_vars=True).get(row.torch)
        if slot and tensor is not None:
            tensor = self.optimizer.state.get(tensor, {}).get(slot)
        return np.empty(0) if row is None or tensor is None else row.to_keras(tensor.detach().numpy())


def keras_run(converted: Path, recording: Recording) -> TrainingRun:
    """Returns a port that trains by Keras's own rule, not a step of it taken."""
    subject = subject_for_comparison(load_model(converted, unfreeze=True), recording, "cpu", "float64")
    return TrainingRun(subject, optimizer_from_keras(_config(recording), subject.model.named_parameters()))


def run_with(converted: Path, recording: Recording, optimizer: str) -> TrainingRun:
    """Returns a port that trains by somebody's rule, with Keras's learning rate where that says none.

    Args:
        converted: The port.
        recording: Of Keras's run.
        optimizer: What to call with the parameters: ``torch.optim.Adam(eps=1e-7)``, or a function of anybody's.
    """
    run = keras_run(converted, recording)
    keras, schedule = run.optimizer, run.optimizer.defaults["lr"]
    first = keras.param_groups[0]["lr"]
    run.optimizer, follows = optimizer_of(optimizer, list(run.subject.model.parameters()), first)
    if follows:
        run.before_step = follow(run.optimizer, schedule)
    return run


def optimizer_of(text: str, params: list[Any], lr: float) -> tuple[torch.optim.Optimizer, bool]:
    """Builds an optimizer as a person writes it.

    Args:
        text: A class or function with its module, and named arguments.
        params: Parameters.
        lr: Learning rate, where the arguments say none and it takes one.

    Returns:
        The optimizer, and whether it has ``lr`` from here.

    Raises:
        TransferError: There is no such thing, it does not take the arguments, or it is no optimizer.
    """
    call = parse_call(text)
    module = call.path.rpartition(".")[0]
    try:
        make = getattr(importlib.import_module(module or "torch.optim"), call.name)
        follows = "lr" not in call.arguments and "lr" in inspect.signature(make).parameters
        made = make(params, **call.arguments, **({"lr": lr} if follows else {}))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise TransferError(
            f"the port's optimizer cannot be made: {error}. Expected a class or function with its module and named "
            f"arguments, such as torch.optim.Adam(eps=1e-7). Received: {text!r}"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise TransferError(f"{call.path} made a {type(made).__name__}. Expected a torch.optim.Optimizer.")
    return made, follows


def follow(optimizer: torch.optim.Optimizer, schedule: Any) -> Callable[[int], None]:
    """Returns what sets a learning rate before each step, as a LambdaLR does; a number stays what it is."""

    def before_step(step: int) -> None:
        if callable(schedule):
            for group in optimizer.param_groups:
                group["lr"] = schedule(step)

    return before_step


def _config(recording: Recording) -> Any:
    if recording.origin.optimizer is None:
        raise VerificationError(f"{recording.path}: records no training run.")
    return recording.origin.optimizer


def rules_of(run: TrainingRun) -> KerasOptimizer:
    """Returns the optimizer of a run by Keras's rule."""
    if not isinstance(run.optimizer, KerasOptimizer):
        raise TypeError(f"a run by {type(run.optimizer).__name__}")
    return run.optimizer
