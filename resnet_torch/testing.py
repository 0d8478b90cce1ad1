"""Parity as an assertion, for anybody's tests: any PyTorch module against any Keras model.

Keras runs in a process of its own, or not at all where a recording is at hand.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from resnet_torch.comparison.comparing import learn_as_in_float64, subject_for_comparison
from resnet_torch.comparison.explaining import explain
from resnet_torch.comparison.measuring import DTYPES, compare_as_it_is, compare_training, precision
from resnet_torch.comparison.rows import Collected, collecting, rows_of
from resnet_torch.comparison.subject import Subject, subject_of_module
from resnet_torch.model import PortedModel
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.converted import is_converted
from weight_transfer.errors import SHOWN_AT_MOST, VerificationError, nearest
from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.inputs import Case, save_cases
from weight_transfer.parity.protocol import ReferenceModel, ReferenceRequest
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.report import Explanation, Row
from weight_transfer.parity.runner import Runner, run_in_process, temporary_folder
from weight_transfer.parity.sketch import LIVE

Arrays = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]


class ParityError(AssertionError):
    """Two models differ.

    Attributes:
        rows: What was compared.
        explanation: Of the first divergence.
    """

    def __init__(self, message: str, rows: tuple[Row, ...], explanation: Explanation) -> None:
        super().__init__(message)
        self.rows = rows
        self.explanation = explanation


def assert_parity(
    model: nn.Module,
    reference: Any,
    inputs: Arrays | None = None,
    *,
    names: Mapping[str, str] | None = None,
    training: bool = False,
    gives_predictions: bool = False,
    runner: Runner = run_in_process,
) -> tuple[Row, ...]:
    """Asserts that a PyTorch module computes what a Keras model does, layer by layer, in float64 and float32.

    The module is compared in the mode it is in, as a copy: itself it stays as it was. A layer is
    compared with the module whose path ends in its name; others are left out, and named in the
    message of a failure. The last layer is compared before its softmax or sigmoid, the output after it.

    Args:
        model: The module, channels first.
        reference: A recording (``weight-transfer record``); or the path of a Keras file with its
            model; or a Keras model, which is saved to be loaded in a process of its own.
        inputs: An array for each input of the Keras model, in Keras's layout, the batch in front.
            None for a recording, which has its own.
        names: By Keras layer, the path of the module behind it, where it has another name.
        training: Whether to compare a training step too: loss, gradients, statistics.
        gives_predictions: Whether ``model`` applies a last softmax or sigmoid itself.
        runner: What has Keras's side answer.

    Returns:
        What was compared: every row has passed.

    Raises:
        ParityError: The models differ; the message names the first layer that does, and why.
        VerificationError: They could not be compared.

    Example:
        >>> assert_parity(port.eval(), "resnet50.keras", images)  # (N, 224, 224, 3), preprocessed
    """
    with temporary_folder() as folder:
        recording = _recording(reference, inputs, training, folder, runner)
        if training and all(case.check == "inference" for case in recording.cases):
            why = recording.origin.skipped.get("training", "the recording has none")
            raise VerificationError(f"there is no training step to compare: {why}. Leave out training=True.")
        if training and gives_predictions and any(recording.origin.last_activations):
            raise VerificationError("a training step starts from logits: let the model return them.")
        if not training:
            recording = dataclasses.replace(
                recording, cases=tuple(case for case in recording.cases if case.check == "inference")
            )
        subjects = {name: _subject(model, recording, names or {}, name, gives_predictions) for name in DTYPES_COMPARED}
        compared, left_out = _only_what_both_name(subjects["float64"], recording)
        rows = _compare(subjects, compared)
        failed = next((row for row in rows if not row.passed), None)
        if failed is None:
            return rows
        explanation = explain(subjects["float64"], compared, failed, rows, as_it_is=True)
    message = _message(model, compared, rows, explanation, left_out)
    raise ParityError(message, rows, explanation)


DTYPES_COMPARED = ("float64", "float32")


def _recording(reference: Any, inputs: Arrays | None, training: bool, folder: Path, runner: Runner) -> Recording:
    if not isinstance(reference, str | os.PathLike):
        if not hasattr(reference, "save"):
            raise VerificationError(
                "the reference must be a recording, the path of a Keras file, or a Keras model. "
                f"Received: {type(reference).__name__}"
            )
        model, reference = reference, folder / "model.keras"
        model.save(reference)
    path = Path(reference)
    if is_converted(path):
        if inputs is not None:
            raise VerificationError(f"{path}: a recording has its own inputs. Leave out inputs=.")
        return read_recording(path)
    if inputs is None:
        raise VerificationError(f"{path}: inputs are needed: an array for each input of the Keras model.")
    given = [inputs] if hasattr(inputs, "shape") else inputs
    arrays = tuple(np.asarray(array, np.float32) for array in given)  # as Keras takes them, or both sides round apart
    shown = [Case("inputs", arrays, raw=False)]
    if training:
        shown.append(Case("inputs, training", arrays, raw=False, check="training"))
    save_cases(shown, folder / "inputs.safetensors")
    with read_checkpoint(path) as checkpoint:
        sha256 = checkpoint.sha256
    output = folder / "reference.safetensors"
    asked = ReferenceModel(checkpoint=path, sha256=sha256, reference="file", network=None)
    runner(ReferenceRequest(asked, folder / "inputs.safetensors", LIVE, output))
    return read_recording(output)


def _subject(
    model: nn.Module, recording: Recording, names: Mapping[str, str], precision_name: str, gives_predictions: bool
) -> Subject:
    copied = copy.deepcopy(model).to(DTYPES[precision_name])
    if isinstance(copied, PortedModel) and not names:
        device = str(next(copied.parameters()).device)
        return subject_for_comparison(copied, recording, device, precision_name)
    learn_as_in_float64(copied, recording)
    layers = list(recording.feeds)
    return subject_of_module(copied, names, layers, recording.origin, gives_predictions=gives_predictions)


def _only_what_both_name(subject: Subject, recording: Recording) -> tuple[Recording, list[str]]:
    """The recording without the layers that the module has no part for, and these."""
    known = {*subject.taps, *subject.rows, "loss"}
    names = list(dict.fromkeys(entry.name for entry in recording.entries if entry.check == "inference"))
    left_out = [name for name in names if name not in known]
    found = [name for name in names if name in known and name not in recording.origin.outputs]
    if not found:
        modules = [path for path, _ in subject.model.named_modules() if path]
        hints = [f"{name}{nearest(name, modules)}" for name in names[:SHOWN_AT_MOST]]
        raise VerificationError(
            "no module has the name of a Keras layer. Give a map: names={'keras layer': 'path.of.the.module'}. "
            f"Keras's layers: {', '.join(hints)}{' ...' if len(names) > SHOWN_AT_MOST else ''}"
        )
    entries = tuple(entry for entry in recording.entries if entry.name in known)
    starts = {key: start for key, start in recording.starts.items() if key[2] in known}
    return dataclasses.replace(recording, entries=entries, starts=starts), left_out


def _compare(subjects: Mapping[str, Subject], recording: Recording) -> tuple[Row, ...]:
    collected: Collected = {}
    for name, subject in subjects.items():
        for case in recording.cases:
            found = collecting(collected, name, case)
            with precision(name):
                if case.check == "inference":
                    compare_as_it_is(subject, recording, case, found)
                elif name == "float64":
                    compare_training(subject, recording, case, found)
    device = next(subjects["float64"].model.parameters()).device.type
    return tuple(rows_of(recording, device, recording.cases, collected, DTYPES_COMPARED))


def _message(
    model: nn.Module, recording: Recording, rows: Sequence[Row], explanation: Explanation, left_out: Sequence[str]
) -> str:
    failed = [row for row in rows if not row.passed]
    lines = [
        f"{type(model).__name__} differs from {recording.origin.source} ({recording.origin.loaded_by}) "
        f"in {len(failed)} of {len(rows)} tensors",
        explanation.sentence,
    ]
    if explanation.found is not None:
        lines.append(CAUSES[explanation.found.cause].advice)
        if explanation.found.cause == "last activation":
            lines.append("A module that applies it itself: assert_parity(..., gives_predictions=True).")
    lines += ["", f"{'check':<11} {'layer':<32} {'float64':>8} {'allowed':>8} {'float32':>8}"]
    for row in failed[:SHOWN_AT_MOST]:
        float32 = f"{row.errors['float32']:8.1e}" if "float32" in row.errors else ""
        numbers = f"{row.errors['float64']:8.1e} {row.limits['float64']:8.1e} {float32}"
        lines.append(f"{row.check:<11} {row.name:<32} {numbers}")
    if len(failed) > SHOWN_AT_MOST:
        lines.append(f"+{len(failed) - SHOWN_AT_MOST} more")
    if left_out:
        shown = ", ".join(left_out[:SHOWN_AT_MOST]) + (" ..." if len(left_out) > SHOWN_AT_MOST else "")
        lines.append(f"not compared, because no module has the name: {shown}")
    return "\n".join(lines)
