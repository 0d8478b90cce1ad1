"""Recordings without Keras: a right PyTorch module stands for the reference, a copy with a mistake for the port."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.comparison.explanation import explain
from resnet_torch.comparison.layer_errors import compare_inference, compare_training, network_inputs, training_mode
from resnet_torch.comparison.rows import rows_of
from resnet_torch.comparison.subject import Subject, subject_of_module
from resnet_torch.inference import inference
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import Origin, Recording, RecordingWriter, read_recording
from weight_transfer.parity.report import Explanation, Row
from weight_transfer.parity.sketch import COMPACT, Detail

Feeds = Mapping[str, tuple[str, ...]]
# Of classifiers and of anything, the classes being 0, 1, 2 and so on.
LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "cross entropy": lambda y: F.cross_entropy(y, torch.arange(len(y)) % y.shape[1]),
    "mean square": lambda y: (y**2).mean(),
}
ORIGIN = Origin("model.keras", "", "file", "a module of PyTorch's", "", {})


def in_a_row(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """What feeds each child of a sequence: the one before."""
    names = [name for name, _ in model.named_children()]
    before: list[tuple[str, ...]] = [(), *((name,) for name in names)]
    return dict(zip([*names, "output"], before, strict=True))


def images(*shape: int, seed: int = 0) -> np.ndarray:
    """Noise, channels last."""
    return np.random.default_rng(seed).normal(0, 2, shape)


def lived_in(model: nn.Module, seed: int = 0) -> Any:
    """The module in float64, with statistics, biases and gammas that are neither 0 nor 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.double().state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0.1, 0.5, generator=generator)
    return model.eval()


def subject_for(
    model: nn.Module, feeds: Feeds, origin: Origin = ORIGIN, names: Mapping[str, str] | None = None
) -> Subject:
    """Describes a module whose children have the layers' names."""
    return subject_of_module(model, names or {}, [name for name in feeds if name not in origin.outputs], origin)


def record_module(
    path: Path, model: nn.Module, shown: Sequence[Case], feeds: Feeds, detail: Detail = COMPACT, origin: Origin = ORIGIN
) -> Recording:
    """Writes down what a module gives, as `resnet_keras.recording` does of a Keras model."""
    return record_subject(path, subject_for(copy.deepcopy(model), feeds, origin), shown, feeds, detail, origin)


def record_subject(
    path: Path, subject: Subject, shown: Sequence[Case], feeds: Feeds, detail: Detail = COMPACT, origin: Origin = ORIGIN
) -> Recording:
    """`record_module` of a module that is described already; its statistics move."""
    with RecordingWriter(path, detail) as writer:
        writer.feeds = dict(feeds)
        writer.origin = origin
        for case in shown:
            writer.add_case(case)
            _record_case(subject, writer, case)
    return read_recording(path)


def _record_case(subject: Subject, writer: RecordingWriter, case: Case) -> None:
    model = subject.model
    given = network_inputs(subject, case)
    with inference(model) if case.check == "inference" else training_mode(model):
        outputs = subject.run(given, lambda name, y: writer.add(case.name, case.check, name, subject.to_keras(y)))
    if case.check == "inference":
        return
    loss = torch.stack([LOSSES[kind](output) for kind, output in zip(subject.losses, outputs, strict=True)]).sum()
    writer.add(case.name, "loss", "loss", loss.detach().numpy().reshape(1))
    loss.backward()  # type: ignore[no-untyped-call]
    for row in subject.rows.values():
        tensor = model.state_dict(keep_vars=True)[row.torch]
        if tensor.requires_grad:
            writer.add(case.name, "gradient", row.keras, row.to_keras(tensor.grad.numpy()), peak=1.0)
        else:
            writer.add(case.name, "statistics", row.keras, row.to_keras(tensor.numpy()))


def compare_with(subject: Subject, recording: Recording) -> list[Row]:
    """Compares a module with a recording in float64."""
    collected: dict[Any, Any] = {}
    for case in recording.cases:

        def found(check: Any, name: str, error: Any, case: Case = case) -> None:
            collected["float64", check, name, case.name] = error

        (compare_inference if case.check == "inference" else compare_training)(subject, recording, case, found)
    return rows_of(recording, "cpu", recording.cases, collected, precisions=("float64",))


def explained(
    path: Path,
    right: nn.Module,
    change: Callable[[Any], Any],
    *arrays: np.ndarray,
    feeds: Feeds | None = None,
    training: bool = False,
    raw: bool = False,
    detail: Detail = COMPACT,
    preprocessing: str | None = None,
    endings: Mapping[str, Any] | None = None,
    knows_file: bool = False,
    origin: Origin = ORIGIN,
) -> Explanation:
    """Plants a mistake in a copy of a module, and returns what is said of the first layer that differs.

    Args:
        path: Of the recording to write.
        right: The module.
        change: Changes the copy, or returns another module; what else it returns is of no account.
        *arrays: Batches of inputs, channels last.
        feeds: By layer, what it reads; by default the one before.
        training: Whether to compare a training step.
        raw: Whether the inputs are images that each side prepares.
        detail: How much of each tensor is recorded.
        preprocessing: Of the port, where it is to be another.
        endings: Of the port, where they are to be others.
        knows_file: Whether the right tensors are at hand.
        origin: Of the recording.
    """
    feeds = feeds or in_a_row(right)
    shown = [
        Case(f"batch {n}", (array,), raw, "training" if training else "inference") for n, array in enumerate(arrays)
    ]
    recording = record_module(path, right, shown, feeds, detail, origin)
    wrong = copy.deepcopy(right)
    with torch.no_grad():
        replaced = change(wrong)
    subject = subject_for(replaced if isinstance(replaced, nn.Module) else wrong, feeds, origin)
    subject = replace(subject, preprocessing=preprocessing or subject.preprocessing, endings=endings or subject.endings)
    rows = compare_with(subject, recording)
    failed = next(row for row in rows if not row.passed)
    held = {name: tensor.numpy() for name, tensor in right.state_dict().items()} if knows_file else None
    return explain(subject, recording, failed, rows, held)


def assert_names(explanation: Explanation, layer: str, cause: str, text: str = "") -> None:
    """Asserts that an explanation names a layer, a cause, and says a text."""
    assert explanation.found is not None, explanation.tried
    assert (explanation.layer, explanation.found.cause) == (layer, cause), explanation.sentence
    assert text in explanation.sentence
