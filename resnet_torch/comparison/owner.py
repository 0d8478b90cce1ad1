"""The port as it is delivered against the owner's own calls: its own dtype, what it freezes, both memory layouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_torch.comparison.measuring import Found, keras_inputs
from resnet_torch.comparison.randomness import held_still
from resnet_torch.comparison.subject import Subject, flat, subject_of
from resnet_torch.loading import load_model
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case, mirrored
from weight_transfer.parity.recording import Entry, Recording
from weight_transfer.parity.report import Check


def compare_with_owner(port: Path, recording: Recording, case: Case, found: Found) -> None:
    """Compares what the owner's calls gave with the port's `predict` and with its own call in training mode.

    Args:
        port: The converted file.
        recording: Of the reference.
        case: Which inputs.
        found: Called with the worse comparison of the two memory layouts.
    """
    entries = {(one.check, one.name): one for one in recording.entries if one.case == case.name}
    worst: dict[tuple[Check, str], TapError] = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        for check, name, error in _compared(port, recording, case, entries, layout):
            if (check, name) not in worst or not error.error <= worst[check, name].error:
                worst[check, name] = error
    for (check, name), error in worst.items():
        found(check, name, error)


def _compared(
    port: Path, recording: Recording, case: Case, entries: dict[tuple[Check, str], Entry], layout: torch.memory_format
) -> Iterator[tuple[Check, str, TapError]]:
    model = load_model(port)
    subject = subject_of(model)
    given = [_laid_out(subject, array, layout) for array in mirrored(keras_inputs(subject, case))]
    for name, output in zip(recording.origin.outputs, flat(model.predict(*given)), strict=True):
        yield "predict", name, recording.expected(entries["predict", name]).error(_as_keras(subject, output))
    moved = {name for check, name in entries if check == "moved statistics"}
    if not any(check == "training call" for check, _ in entries):
        return
    state = model.state_dict()
    before = {name: state[subject.rows[name].torch].clone() for name in moved if name in subject.rows}
    model.train()
    with torch.no_grad(), held_still(model, ()):
        outputs = flat(model.finished(model(*given)))
    for name, output in zip(recording.origin.outputs, outputs, strict=True):
        yield (
            "training call",
            name,
            recording.expected(entries["training call", name]).error(_as_keras(subject, output)),
        )
    for name, old in before.items():
        row = subject.rows[name]
        change = row.to_keras((state[row.torch].double() - old.double()).numpy())
        yield "moved statistics", name, recording.expected(entries["moved statistics", name]).error(change)


def _laid_out(subject: Subject, array: Any, layout: torch.memory_format) -> Tensor:
    """An input as the port takes it, in a memory layout that only images have two of."""
    tensor = subject.from_keras(array)
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def _as_keras(subject: Subject, output: Tensor) -> Any:
    return subject.to_keras(output.float() if output.dtype == torch.float16 else output)
