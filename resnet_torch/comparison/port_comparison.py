"""The port's side of a verification: runs PyTorch, compares everything with the recording, explains what differs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.comparison.exact_runs import ExactComparison, compare_exact_runs
from resnet_torch.comparison.explanation import explain
from resnet_torch.comparison.layer_errors import DTYPES, compare_inference, compare_training, precision
from resnet_torch.comparison.owner import compare_with_owner, owners_rounding
from resnet_torch.comparison.rounding import measured_rounding, rounding_note, widened
from resnet_torch.comparison.rows import PRECISIONS, Collected, collecting, rows_of
from resnet_torch.comparison.subject import Subject, subject_of
from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.loading import load_model
from resnet_torch.model import PortedModel
from weight_transfer.converted import read_converted
from weight_transfer.parity.environment import environment
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.protocol import ComparisonRequest, ComparisonResult
from weight_transfer.parity.recording import OUTPUT, TOP, Entry, Recording, Tops, read_recording
from weight_transfer.parity.report import OWNER_CHECKS, STEP_CHECKS, Row
from weight_transfer.progress import OnProgress, steps


def compare(request: ComparisonRequest, on_progress: OnProgress) -> ComparisonResult:
    """Runs the port on every device and in every precision asked for, and measures it against the recording.

    Args:
        request: What to compare, and where.
        on_progress: Called with the share that is done.
    """
    recording = read_recording(request.reference)
    devices = [device for device in request.devices if device != "cuda" or torch.cuda.is_available()]
    cases = [case for case in recording.cases if case.check == "inference" or request.training]
    if request.quick and recording.exact_runs is not None:
        recording = dataclasses.replace(recording, exact_runs=recording.exact_runs.quick())
    num_exact = 0 if recording.exact_runs is None else len(recording.exact_runs.rounds)
    progress = steps(sum(_runs(device, case) for device in devices for case in cases) + num_exact, on_progress)
    tops: dict[str, Tops | None] = {}
    notes: list[str] = []
    images = {device: _images(request.converted, recording, device, cases, tops, progress) for device in devices}
    owners: list[Row] = []
    exact = ExactComparison((), (), 0, ())
    called = _owners_calls(request, recording)
    if devices:
        owners, called, reason = _owners(request, called)
        notes += [] if reason is None else [f"no training step of the owner's own model: {reason}"]
        exact = _exact(request.converted, recording, progress, training=request.training and not request.quick)
    rows = [*itertools.chain(*images.values()), *owners]
    if request.right is None and not exact.wiring and exact.rows and all(row.passed for row in exact.rows):
        # Each layer by itself is Keras's: what is left to ask is how rounding grows from one to the next.
        wider: list[Row] = []
        for device, compared in images.items():
            subjects = partial(_loaded, request.converted, recording, device)
            wider += widened(compared, measured_rounding(compared, subjects, recording, cases))
        wider += widened(owners, owners_rounding(request.converted, called, owners, request.optimizer))
        notes += rounding_note(rows, wider)
        rows = wider
    rows += exact.rows
    failed = next((row for row in rows if not row.passed and row.check not in OWNER_CHECKS), None)
    explanation = None
    if failed is not None:
        subject = _loaded(request.converted, recording, failed.device, "float64")
        right = None if request.right is None else read_converted(request.right).tensors()
        explanation = explain(subject, recording, failed, rows, right)
    return ComparisonResult(
        rows=tuple(rows),
        explanation=explanation,
        tops=tops,
        environment=environment() | _devices(devices),
        wiring=exact.wiring,
        num_wired=exact.num_wired,
        untraced=exact.untraced,
        notes=tuple(notes),
    )


def _images(
    port: Path,
    recording: Recording,
    device: str,
    cases: Sequence[Case],
    tops: dict[str, Tops | None],
    progress: Iterator[None],
) -> list[Row]:
    """The whole network on images, in every precision of a device; ``tops`` takes the classes of pictures."""
    collected: Collected = {}
    for name in PRECISIONS[device]:
        subject = _loaded(port, recording, device, name)
        with precision(name):
            for case in cases:
                if case.check == "training" and name != "float64":
                    continue
                logits = _compare_case(subject, recording, case, name, collected)
                if name == "float32" and case.raw and logits:
                    tops[case.name] = tops_of(subject, logits)
                next(progress)
    return rows_of(recording, device, cases, collected)


def _loaded(port: Path, recording: Recording, device: str, precision_name: str) -> Subject:
    return subject_for_comparison(load_model(port, unfreeze=True), recording, device, precision_name)


def _owners_calls(request: ComparisonRequest, recording: Recording) -> Recording:
    """What a recording holds of the owner's own calls, as far as it is to be compared.

    Where the Keras that loaded the model moves a variance by another rule than the one that wrote it, variances cannot
    be compared.
    """
    known = read_converted(request.converted).description
    rule = "keras3" if recording.origin.module == "keras" or known.precision.dtype == "float64" else "tf_keras"
    checks = OWNER_CHECKS if request.training else {"predict"}
    called = _with_checks(recording, checks - (STEP_CHECKS if request.quick else set()))
    if known.moving_variance != rule:
        called = _without(called, lambda entry: entry.name.endswith("/moving_variance"))
    return called


def _owners(request: ComparisonRequest, called: Recording) -> tuple[list[Row], Recording, str | None]:
    """The owner's own calls, on the CPU, by the port as it is delivered; what of them was compared; and why its step
    was not.
    """
    collected: Collected = {}
    reason: str | None = None
    for case in called.cases:
        if any(entry.case == case.name for entry in called.entries):
            found = collecting(collected, "float32", case)
            reason = compare_with_owner(request.converted, called, case, found, request.optimizer) or reason
    if reason is not None:
        called = _with_checks(called, OWNER_CHECKS - STEP_CHECKS)
    return rows_of(called, "cpu", called.cases, collected, owners=True), called, reason


def _with_checks(recording: Recording, checks: Collection[str]) -> Recording:
    """A recording of some checks alone."""
    step = recording.owner_step if set(checks) >= STEP_CHECKS else None
    return dataclasses.replace(_without(recording, lambda entry: entry.check not in checks), owner_step=step)


def _without(recording: Recording, left_out: Callable[[Entry], bool]) -> Recording:
    entries = tuple(entry for entry in recording.entries if not left_out(entry))
    return dataclasses.replace(recording, entries=entries)


def _exact(port: Path, recording: Recording, progress: Iterator[None], *, training: bool) -> ExactComparison:
    """Exact runs, on the CPU: of a GPU it is not known which of its algorithms keep integers exact."""
    subject = _loaded(port, recording, "cpu", "float64")
    return compare_exact_runs(subject, recording, progress, training=training, restore=False)


def subject_for_comparison(model: PortedModel, recording: Recording, device: str, precision_name: str) -> Subject:
    """Describes a loaded model in a precision, with batch norms that learn as the reference's do in float64."""
    model = model.to(device, DTYPES[precision_name])
    learn_as_in_float64(model, recording)
    return dataclasses.replace(subject_of(model), placed=torch.empty(0, device=device, dtype=DTYPES[precision_name]))


def learn_as_in_float64(model: nn.Module, recording: Recording) -> None:
    """Gives batch norms the rules of a reference that runs in float64.

    There no Keras has a fused batch norm, and each keeps the biased variance; the unbiased one of
    a Keras 2 file's port could not be compared. tf_keras takes 1 - momentum in float32.

    Source: assign_moving_average and _fused_can_be_used in tf_keras/src/layers/normalization/batch_normalization.py,
    tf_keras 2.21.0.
    """
    for norm in model.modules():
        if isinstance(norm, BatchNorm2d):
            norm.moving_variance = "keras3"
        if isinstance(norm, BATCH_NORMS) and norm.momentum is not None and recording.origin.module == "tf_keras":
            norm.momentum = float(np.float32(norm.momentum))


def _runs(device: str, case: Case) -> int:
    return len(PRECISIONS[device]) if case.check == "inference" else 1


def _compare_case(
    subject: Subject, recording: Recording, case: Case, precision_name: str, collected: Collected
) -> list[torch.Tensor]:
    found = collecting(collected, precision_name, case)
    if case.check == "training":
        compare_training(subject, recording, case, found)
        return []
    return compare_inference(subject, recording, case, found)


def tops_of(subject: Subject, logits: Sequence[torch.Tensor]) -> Tops | None:
    """The top classes of each picture, where the first output has classes."""
    finish = subject.endings.get(OUTPUT) or next(iter(subject.endings.values()), None)
    scores = logits[0] if finish is None else finish[1](logits[finish[0]])
    if scores.ndim != 2 or scores.shape[1] < 2:
        return None
    best = scores.float().topk(min(TOP, scores.shape[1]))
    return [
        [(int(number), float(value)) for number, value in zip(numbers, values, strict=True)]
        for numbers, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _devices(devices: Sequence[str]) -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name()} if "cuda" in devices else {}
