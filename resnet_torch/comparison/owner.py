"""The port as it is delivered against the owner's own calls: its own dtype, what it freezes, both memory layouts."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.comparison.layer_errors import Found, keras_inputs, restored
from resnet_torch.comparison.randomness import held_still
from resnet_torch.comparison.rounding import RUNS, Rounding, rounded_otherwise
from resnet_torch.comparison.subject import Subject, flat, subject_of
from resnet_torch.loading import load_model
from resnet_torch.losses import loss_from_keras
from resnet_torch.model import PortedModel
from resnet_torch.optimizers.from_keras import optimizer_from_keras
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.optimizers.loading import fill
from resnet_torch.regularizers import regularization
from weight_transfer.converted import read_converted
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.state import read_state
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case, mirrored
from weight_transfer.parity.memory import free_memory, large_blocks_given_back
from weight_transfer.parity.owner_step import STEP_IMAGES, OwnerStep, TargetDraw, drawn_target
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import Check, Row

Name = tuple[Check, str]
ONEDNN_BLOCK = 16  # channels
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def compare_with_owner(
    port: Path, recording: Recording, case: Case, found: Found, optimizer: Path | None = None
) -> str | None:
    """Compares what the owner's calls gave with the port's `predict`, with its own call in training mode, and with the
    step that it takes.

    Args:
        port: The converted file.
        recording: Of the reference.
        case: Which inputs.
        found: Called with the worse comparison of the two memory layouts.
        optimizer: The state of the file's optimizer.

    Returns:
        Why the step is not compared; None where it is, or where the recording has none.
    """
    calls = _Calls(port, recording, case, optimizer)
    worst: dict[Name, TapError] = {}
    reason: str | None = None

    def take(given: Iterator[tuple[Name, Any]]) -> None:
        for key, array in given:
            error = recording.expected(calls.entries[key]).error(array)
            if key not in worst or not error.error <= worst[key].error:
                worst[key] = error

    for layout in LAYOUTS:
        take(calls.called(_loaded(port), layout))
        if calls.step is None:
            continue
        try:
            with large_blocks_given_back():
                take(calls.trained(_loaded(port), layout))
        except TransferError as refused:
            reason = str(refused).splitlines()[0]
    free_memory()
    for (check, name), error in worst.items():
        found(check, name, error)
    return reason


def owners_rounding(port: Path, recording: Recording, rows: Sequence[Row], optimizer: Path | None = None) -> Rounding:
    """Says how far rounding alone moves what the port gives in the owner's calls, where it is beyond a gate.

    Args:
        port: The converted file.
        recording: Of the reference, without what is not compared.
        rows: What was compared.
        optimizer: The state of the file's optimizer.
    """
    far = {(row.check, row.name) for row in rows if not row.passed}
    moved: dict[tuple[str, Check, str], float] = {}
    for case in recording.cases:
        calls = _Calls(port, recording, case, optimizer)
        here = far & calls.entries.keys()
        for layout in LAYOUTS if here else ():
            for (check, name), share in calls.moved_by_rounding(here, layout).items():
                moved["float32", check, name] = max(share, moved.get(("float32", check, name), 0.0))
    return moved


def _loaded(port: Path) -> PortedModel:
    """The port; what reading it took, and what came before, is free again."""
    model = load_model(port)
    free_memory()
    return model


class _Calls:
    """The port, called as the owner calls the Keras model.

    Args:
        port: The converted file.
        recording: Of the reference.
        case: Which inputs.
        optimizer: The state of the file's optimizer.
    """

    def __init__(self, port: Path, recording: Recording, case: Case, optimizer: Path | None) -> None:
        self.port, self.recording, self.case, self.optimizer = port, recording, case, optimizer
        step = recording.owner_step
        self.step = step if step is not None and step.case == case.name else None
        self.entries: dict[Name, Entry] = {
            (one.check, one.name): one for one in recording.entries if one.case == case.name
        }

    def called(self, model: PortedModel, layout: torch.memory_format) -> Iterator[tuple[Name, Any]]:
        """What `predict` and a call in training mode give, and by how much that moves the statistics."""
        subject = subject_of(model)
        given = [_laid_out(subject, array, layout) for array in mirrored(keras_inputs(subject, self.case))]
        with restored(model):  # a batch norm that is called with training=True moves always
            predicted = flat(model.predict(*given))
        for name, output in zip(self.recording.origin.outputs, predicted, strict=True):
            yield ("predict", name), _as_keras(subject, output)
        moved = {name for check, name in self.entries if check == "moved statistics"}
        if not any(check == "training call" for check, _ in self.entries):
            return
        state = model.state_dict()
        before = {name: state[subject.rows[name].torch].clone() for name in moved if name in subject.rows}
        model.train()
        with restored(model), torch.no_grad(), held_still(model, ()):
            outputs = flat(model.finished(model(*given)))
            after = {name: state[subject.rows[name].torch].clone() for name in before}
        for name, output in zip(self.recording.origin.outputs, outputs, strict=True):
            yield ("training call", name), _as_keras(subject, output)
        for name, old in before.items():
            row = subject.rows[name]
            yield ("moved statistics", name), row.to_keras((after[name].double() - old.double()).numpy())

    def trained(self, model: PortedModel, layout: torch.memory_format) -> Iterator[tuple[Name, Any]]:
        """Takes a training step; gives its loss, and by how much it moves each array.

        Raises:
            TransferError: The optimizer needs the file's slots, and they are not here; or it is not known here.
        """
        step = self.step
        if step is None:
            return
        optimizer, subject = optimizer_of(step, model, self.optimizer), subject_of(model)
        images = [array[:STEP_IMAGES] for array in mirrored(keras_inputs(subject, self.case))]
        given = [_laid_out(subject, array, layout) for array in images]
        loss, penalty = loss_from_keras(step.compiled, model.network, step.keras_version), regularization(model)
        drawn = [_target(subject, draw, drawn_target(number, draw)) for number, draw in enumerate(step.targets)]
        targets = dict(zip(step.names, drawn, strict=True)) if step.names is not None else drawn
        model.train()
        with held_still(model, ()):
            value = loss(model(*given), drawn[0] if len(drawn) == 1 and step.names is None else targets) + penalty()
        backward(value, model, layout)
        with torch.no_grad():
            inspect.unwrap(type(optimizer).step)(optimizer)  # what wraps it imports the compiler
        optimizer.state.clear()
        model.zero_grad()
        model.eval()
        state, stored = model.state_dict(keep_vars=True), read_converted(self.port).stored
        if ("trained loss", "loss") in self.entries:  # one that is zero proves nothing
            yield ("trained loss", "loss"), np.array([value.item()])
        for check, name in self.entries:
            if check == "trained weights" and name in subject.rows:
                row = subject.rows[name]
                before = torch.from_numpy(stored[row.torch].read()).double()
                change = (state[row.torch].detach().double() - before).numpy()
                yield (check, name), row.to_keras(change)

    def moved_by_rounding(self, names: Collection[Name], layout: torch.memory_format) -> dict[Name, float]:
        """How far what the port gives moves when its layers round otherwise, as a share of the reference's peak."""
        moved: dict[Name, float] = {}
        plain = self._given(names, load_model(self.port), layout)
        for seed in range(RUNS):
            model = load_model(self.port)
            with rounded_otherwise(model, seed):
                others = self._given(names, model, layout)
            for key in plain.keys() & others.keys():
                apart = float(np.max(np.abs(plain[key] - others[key]), initial=0.0)) / self.entries[key].peak
                if np.isfinite(apart):
                    moved[key] = max(moved.get(key, 0.0), apart)
        return moved

    def _given(self, names: Collection[Name], model: PortedModel, layout: torch.memory_format) -> dict[Name, Any]:
        """Some of what the port gives."""
        given = itertools.chain(self.called(model, layout), self.trained(model, layout))
        return {key: array for key, array in given if key in names and self.entries[key].peak}


def backward(loss: Tensor, model: nn.Module, layout: torch.memory_format) -> None:
    """Computes the gradients of a loss, without oneDNN where that may write beyond its memory and end the process.

    Seen with PyTorch 2.14.1 on an AMD EPYC, of a 1x1 convolution with a stride and fewer than 16 channels, from 56x56
    on, where float32 tensors lie channels_last.

    Args:
        loss: Of the model's outputs.
        model: What computed them.
        layout: How its input lay in memory.
    """
    overruns = layout == torch.channels_last and any(
        isinstance(module, nn.Conv2d) and module.in_channels < ONEDNN_BLOCK and set(module.stride) != {1}
        for module in model.modules()
    )
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = before and not overruns  # type: ignore[assignment]  # a property of the module
    try:
        torch.autograd.backward(loss)
    finally:
        torch.backends.mkldnn.enabled = before


def optimizer_of(step: OwnerStep, model: PortedModel, path: Path | None) -> KerasOptimizer:
    """Builds the optimizer that the owner's model was trained with, of the port's parameters.

    Args:
        step: How the owner's model was trained.
        model: The port.
        path: The state of the file's optimizer.

    Raises:
        TransferError: It needs the file's slots, and they are not here; or it is not known here.
    """
    state = None
    if step.iterations:
        state = None if path is None else read_state(path).state
        if state is None or state.iterations != step.iterations:
            found = "none" if state is None else f"one of step {state.iterations:,}"
            raise TransferError(
                f"Keras trained with the file's optimizer at step {step.iterations:,}, and here its state is {found}"
            )
    optimizer = optimizer_from_keras(step.optimizer, model.named_parameters())
    if state is not None:
        fill(optimizer, state, dict(model.named_parameters()))
    return optimizer


def _target(subject: Subject, draw: TargetDraw, array: Any) -> Tensor:
    """A target as PyTorch's losses take it: the classes on axis 1, class numbers as they are."""
    if draw.kind == "class numbers":
        return torch.from_numpy(array).long()
    return subject.from_keras(array)


def _laid_out(subject: Subject, array: Any, layout: torch.memory_format) -> Tensor:
    """An input as the port takes it, in a memory layout that only images have two of."""
    tensor = subject.from_keras(array)
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def _as_keras(subject: Subject, output: Tensor) -> Any:
    return subject.to_keras(output.float() if output.dtype == torch.float16 else output)
