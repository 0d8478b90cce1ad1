"""Verification of training: the same steps on the same batches in Keras and in the port, compared to the end."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import Converted, read_converted
from weight_transfer.data import open_images
from weight_transfer.description import Description, MovingVariance
from weight_transfer.identified import Identified
from weight_transfer.parity.batches import training_batches
from weight_transfer.parity.checkpoint_facts import facts_of
from weight_transfer.parity.error import tap_error
from weight_transfer.parity.inputs import Case, save_cases
from weight_transfer.parity.protocol import (
    ReferenceRun,
    TrainingComparisonRequest,
    TrainingComparisonResult,
    TrainingReferenceRequest,
)
from weight_transfer.parity.recording import Recording, read_recording
from weight_transfer.parity.reference import check_same, reference_model, takes_any_size
from weight_transfer.parity.runner import Runner, check_installed, run_in_process, temporary_folder
from weight_transfer.parity.sketch import LIVE, Detail
from weight_transfer.parity.training_report import TrainingVerification
from weight_transfer.parity.verify import REFERENCE_SHARE, environments
from weight_transfer.progress import OnProgress, Progress, stage


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        optimizers: as Keras serializes them: a run for each.
        num_steps: Steps of a run.
        batch_size: Images of a batch.
        data: Images to draw from, as ``--data`` takes them; None for crops of photographs.
        port_optimizer: The port's, as a person writes it, ``torch.optim.Adam(eps=1e-7)``; None for Keras's rule.
        moving_variance: Rule of the port's batch norms; None for the reference's.
        seed: Of the batches.
    """

    optimizers: Sequence[Mapping[str, Any]]
    num_steps: int = 20
    batch_size: int = 4
    data: str | None = None
    port_optimizer: str | None = None
    moving_variance: MovingVariance | None = None
    seed: int = 0


def verify_training(
    source: str | os.PathLike[str],
    training: Training,
    converted: str | os.PathLike[str] | None = None,
    hints: Hints | None = None,
    detail: Detail = LIVE,
    references: Sequence[str | os.PathLike[str]] | None = None,
    on_progress: Progress = lambda stage, share: None,
    runner: Runner = run_in_process,
) -> list[TrainingVerification]:
    """Trains a Keras checkpoint and its port in float64, from the same weights on the same batches.

    All layers learn; batch norms alone are in training mode, for what a dropout leaves out is chance.
    Compared are the loss of every step and, after the last one, every weight, slot of the optimizer
    and moving statistic.

    Args:
        source: The Keras checkpoint.
        training: How to train.
        converted: The port; by default the source is converted on the way.
        hints: What the checkpoint may not show.
        detail: How much of each array to compare.
        references: What `record_training` wrote of the same training; then Keras is not needed.
        on_progress: Called with what is going on and the share that is done.
        runner: What has each side answer.

    Returns:
        One for each optimizer.

    Raises:
        CheckpointError, ArchitectureError, MappingError: As `convert`.
        VerificationError: A framework is missing or failed, or Keras's loss is no number.
        TransferError: The data cannot be read, or there is no such optimizer.
    """
    started = time.monotonic()
    check_installed("resnet_torch")
    with read_checkpoint(source) as checkpoint, temporary_folder() as folder:
        identified = identify(checkpoint, hints)
        if converted is None:
            converted = folder / "converted.safetensors"
            convert(source, converted, hints)
        port = read_converted(converted)
        _try_optimizer(port, training, runner)
        recorded = references is None
        if references is None:
            references = [folder / f"{number}.safetensors" for number in range(len(training.optimizers))]
            _record(
                checkpoint,
                identified,
                hints,
                training,
                references,
                detail,
                stage(on_progress, "Keras", end=REFERENCE_SHARE),
                runner,
            )
        recordings = [read_recording(Path(path)) for path in references]
        for recording in recordings:
            check_same(recording, checkpoint)
        done = REFERENCE_SHARE if recorded else 0.0
        result = _train_port(port, training, references, stage(on_progress, "PyTorch", done), runner)
        explanations = [run.explanation for run in result.runs]
        for number, explanation in enumerate(explanations):
            if recorded and explanation is not None and not explanation.found:
                one = dataclasses.replace(training, optimizers=[training.optimizers[number]])
                nudged = folder / "nudged.safetensors"
                on_share = stage(on_progress, "rounding")
                _record(checkpoint, identified, hints, one, [nudged], detail, on_share, runner, nudged=True)
                apart = _apart(recordings[number], read_recording(nudged))
                explanations[number] = dataclasses.replace(explanation, rounding=apart)
        facts = facts_of(checkpoint, identified, hints)
        differing = facts.differing(port)
        notes = _not_trained(facts.described)
        converted_sha256 = port.sha256
    total = len(facts.digests)
    return [
        TrainingVerification(
            title=identified.network.title,
            source=checkpoint.path.name,
            source_sha256=recording.origin.sha256,
            reference=recording.origin.reference,
            loaded_by=recording.origin.loaded_by,
            converted=port.path.name,
            converted_sha256=converted_sha256,
            batches=_in_words(recording.cases[0], training),
            optimizer=recording.origin.optimizer or {},
            port_optimizer=training.port_optimizer,
            losses=run.losses,
            rows=run.rows,
            weights_equal=total - len(differing),
            weights_total=total,
            weights_differing=tuple(differing),
            environment=environments(recording.origin, result.environment),
            notes=notes,
            explanation=explanation,
            duration_s=round(time.monotonic() - started, 1),
        )
        for recording, run, explanation in zip(recordings, result.runs, explanations, strict=True)
    ]


def _try_optimizer(port: Converted, training: Training, runner: Runner) -> None:
    """Finds a wrong word in the port's optimizer before the long work."""
    if training.port_optimizer is not None:
        _train_port(port, training, [], lambda share: None, runner)


def _train_port(
    port: Converted,
    training: Training,
    references: Sequence[str | os.PathLike[str]],
    on_progress: OnProgress,
    runner: Runner,
) -> TrainingComparisonResult:
    paths = tuple(map(Path, references))
    request = TrainingComparisonRequest(port.path, paths, training.port_optimizer, training.moving_variance)
    return runner(request, on_progress)


def record_training(
    source: str | os.PathLike[str],
    training: Training,
    outputs: Sequence[str | os.PathLike[str]],
    hints: Hints | None = None,
    detail: Detail = LIVE,
    on_progress: Progress = lambda stage, share: None,
    runner: Runner = run_in_process,
) -> None:
    """Trains with Keras alone, and writes down each run: the reference of as many ports as there are.

    Args:
        source: The Keras checkpoint.
        training: How to train.
        outputs: A file to write for each optimizer.
        hints: What the checkpoint may not show.
        detail: How much of each array to keep.
        on_progress: Called with what is going on and the share that is done.
        runner: What has each side answer.

    Raises:
        As `verify_training`.
    """
    with read_checkpoint(source) as checkpoint:
        identified = identify(checkpoint, hints)
        _record(checkpoint, identified, hints, training, outputs, detail, stage(on_progress, "Keras"), runner)


def _record(
    checkpoint: Checkpoint,
    identified: Identified,
    hints: Hints | None,
    training: Training,
    outputs: Sequence[str | os.PathLike[str]],
    detail: Detail,
    on_progress: OnProgress,
    runner: Runner,
    *,
    nudged: bool = False,
) -> None:
    """Trains with Keras, from the checkpoint's weights or from those one unit in the last place away."""
    check_installed("resnet_keras")
    batches = training_batches(
        identified.network,
        training.num_steps,
        training.batch_size,
        any_size=takes_any_size(identified),
        images=None if training.data is None else open_images(training.data, "train"),
        seed=training.seed,
    )
    with temporary_folder() as folder:
        inputs = folder / "inputs.safetensors"
        save_cases(batches, inputs)
        pairs = zip(training.optimizers, outputs, strict=True)
        runs = tuple(ReferenceRun(optimizer, Path(path), nudged) for optimizer, path in pairs)
        model = reference_model(checkpoint, identified, hints)
        runner(TrainingReferenceRequest(model, inputs, detail, runs), on_progress)


def _apart(recording: Recording, other: Recording) -> float:
    """How far two runs of Keras are apart, by the worst of all that was recorded."""
    others = {(entry.check, entry.name): entry for entry in other.entries}
    errors = [0.0]
    for entry in recording.entries:
        if (entry.check, entry.name) in others:
            theirs = other.expected(others[entry.check, entry.name])
            errors.append(tap_error(theirs.kept, recording.expected(entry).kept, peak=entry.peak).error)
    return max(errors)


def _not_trained(known: Description) -> tuple[str, ...]:
    """What acts when the file's owner trains, and not here."""
    found = []
    if known.compiled_loss:
        found.append("the loss that the file was compiled with")
    if known.compiled.get("optimizer_config") or known.compiled.get("optimizer"):
        found.append("its optimizer's own settings and state")
    for what, held in (("penalties", known.regularizers), ("constraints", known.constraints)):
        layers = [layer for layer, ones in held.items() if any(ones.values())]
        if layers:
            found.append(f"the {what} of {len(layers)} layers")
    if known.frozen:
        found.append(f"the rest of {len(known.frozen)} layers that do not learn in the file")
    if not found:
        return ()
    return (f"not part of this run, and compared in one step of it by weight-transfer verify: {', '.join(found)}",)


def _in_words(first: Case, training: Training) -> str:
    what = training.data or ("crops of photographs" if first.raw else "noise")
    sizes = " and ".join(" x ".join(map(str, array.shape)) for array in first.arrays)
    return f"{what} under noise, {sizes}" if first.raw else f"{what}, {sizes}"
