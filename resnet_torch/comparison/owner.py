"""The port as it is delivered against the owner's own calls: its own dtype, what it freezes, both memory layouts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_torch.comparison.measuring import Found, keras_inputs, restored
from resnet_torch.comparison.randomness import held_still
from resnet_torch.comparison.subject import Subject, flat, subject_of
from resnet_torch.loading import load_model
from resnet_torch.losses import loss_from_keras
from resnet_torch.model import PortedModel
from resnet_torch.optimizers.from_keras import optimizer_from_keras
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.optimizers.loading import fill
from resnet_torch.regularizers import regularization
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.state import read_state
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case, mirrored
from weight_transfer.parity.owner_step import STEP_IMAGES, OwnerStep, TargetDraw, drawn_target
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import Check


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
    step = recording.owner_step if recording.owner_step and recording.owner_step.case == case.name else None
    entries = {(one.check, one.name): one for one in recording.entries if one.case == case.name}
    worst: dict[tuple[Check, str], TapError] = {}
    reason: str | None = None
    for layout in (torch.contiguous_format, torch.channels_last):
        model = load_model(port)
        compared = _compared(model, recording, case, entries, layout)
        if step is not None:
            try:
                made = optimizer_of(step, model, optimizer)
                compared = chain(compared, _trained(model, made, recording, step, case, entries, layout))
            except TransferError as refused:
                step, reason = None, str(refused).splitlines()[0]
        for check, name, error in compared:
            if (check, name) not in worst or not error.error <= worst[check, name].error:
                worst[check, name] = error
    for (check, name), error in worst.items():
        found(check, name, error)
    return reason


def _compared(
    model: PortedModel,
    recording: Recording,
    case: Case,
    entries: dict[tuple[Check, str], Entry],
    layout: torch.memory_format,
) -> Iterator[tuple[Check, str, TapError]]:
    subject = subject_of(model)
    given = [_laid_out(subject, array, layout) for array in mirrored(keras_inputs(subject, case))]
    with restored(model):  # a batch norm that is called with training=True moves always
        predicted = flat(model.predict(*given))
    for name, output in zip(recording.origin.outputs, predicted, strict=True):
        yield "predict", name, recording.expected(entries["predict", name]).error(_as_keras(subject, output))
    moved = {name for check, name in entries if check == "moved statistics"}
    if not any(check == "training call" for check, _ in entries):
        return
    state = model.state_dict()
    before = {name: state[subject.rows[name].torch].clone() for name in moved if name in subject.rows}
    model.train()
    with restored(model), torch.no_grad(), held_still(model, ()):
        outputs = flat(model.finished(model(*given)))
        after = {name: state[subject.rows[name].torch].clone() for name in before}
    for name, output in zip(recording.origin.outputs, outputs, strict=True):
        yield (
            "training call",
            name,
            recording.expected(entries["training call", name]).error(_as_keras(subject, output)),
        )
    for name, old in before.items():
        row = subject.rows[name]
        change = row.to_keras((after[name].double() - old.double()).numpy())
        yield "moved statistics", name, recording.expected(entries["moved statistics", name]).error(change)


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


def _trained(
    model: PortedModel,
    optimizer: KerasOptimizer,
    recording: Recording,
    step: OwnerStep,
    case: Case,
    entries: dict[tuple[Check, str], Entry],
    layout: torch.memory_format,
) -> Iterator[tuple[Check, str, TapError]]:
    subject = subject_of(model)
    images = [array[:STEP_IMAGES] for array in mirrored(keras_inputs(subject, case))]
    given = [_laid_out(subject, array, layout) for array in images]
    loss, penalty = loss_from_keras(step.compiled, model.network, step.keras_version), regularization(model)
    drawn = [_target(subject, draw, drawn_target(number, draw)) for number, draw in enumerate(step.targets)]
    targets = dict(zip(step.names, drawn, strict=True)) if step.names is not None else drawn
    state = dict(model.state_dict(keep_vars=True))
    before = {name: tensor.detach().clone() for name, tensor in state.items()}
    model.train()
    with held_still(model, ()):
        value = loss(model(*given), drawn[0] if len(drawn) == 1 and step.names is None else targets) + penalty()
    value.backward()
    optimizer.step()
    model.eval()
    yield "trained loss", "loss", recording.expected(entries["trained loss", "loss"]).error(np.array([value.item()]))
    for check, name in entries:
        if check == "trained weights" and name in subject.rows:
            row = subject.rows[name]
            change = (state[row.torch].detach().double() - before[row.torch].double()).numpy()
            yield "trained weights", name, recording.expected(entries[check, name]).error(row.to_keras(change))


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
