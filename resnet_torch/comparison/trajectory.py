"""The port's side of a training run: trains it, compares each loss and what is left, explains what differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.comparison.rows import limits_of
from resnet_torch.comparison.training_mistakes import TrainingMistake, mistakes
from resnet_torch.comparison.training_run import TrainingRun, keras_run, optimizer_of, run_with
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from weight_transfer.parity.environment import environment
from weight_transfer.parity.error import tap_error
from weight_transfer.parity.protocol import ComparedRun, TrainingComparisonRequest, TrainingComparisonResult
from weight_transfer.parity.recording import Entry, Recording, read_recording
from weight_transfer.parity.report import Row, Trial
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.parity.training_report import TrainingExplanation
from weight_transfer.progress import OnProgress, steps

GATE = TOLERANCES["weights"]["float64"].error
STEPS_AFTER = 2  # of the first that differs: what a mistake is tried on
MOST_TOGETHER = 3  # mistakes: PyTorch's Adam has as many
NEARER = 2  # times: what a mistake must bring to count


def compare_runs(request: TrainingComparisonRequest, on_progress: OnProgress) -> TrainingComparisonResult:
    """Trains the port as Keras was trained, and measures it against the recording.

    Args:
        request: What to train, and what to compare it with.
        on_progress: Called with the share that is done.
    """
    recordings = [read_recording(path) for path in request.references]
    if request.optimizer is not None and not recordings:
        optimizer_of(request.optimizer, [torch.nn.Parameter(torch.zeros(1))], 0.1)
    progress = steps(sum(len(recording.cases) for recording in recordings), on_progress)
    runs = tuple(_compared(recording, request, progress) for recording in recordings)
    return TrainingComparisonResult(runs, environment())


def _compared(recording: Recording, request: TrainingComparisonRequest, progress: Iterator[None]) -> ComparedRun:
    def begin() -> TrainingRun:
        if request.optimizer is None:
            run = keras_run(request.converted, recording)
        else:
            run = run_with(request.converted, recording, request.optimizer)
        for module in run.subject.model.modules():
            if isinstance(module, BatchNorm2d) and request.moving_variance is not None:
                module.moving_variance = request.moving_variance
        return run

    run = begin().go(recording, len(recording.cases), lambda: next(progress))
    rows = rows_of(run, recording)
    explanation = None
    if not all(row.passed for row in rows):
        explanation = explain(run, begin, lambda: keras_run(request.converted, recording), recording, rows)
    theirs = [float(recording.expected(entry).kept[0]) for entry in recording.entries if entry.check == "step"]
    return ComparedRun(tuple(rows), {"keras": tuple(theirs), "torch": tuple(run.losses)}, explanation)


def rows_of(run: TrainingRun, recording: Recording) -> list[Row]:
    """Returns a row for each loss so far and, after the last step, for each weight, slot and statistic.

    Slots are compared where the port's rule is Keras's, and keeps the same.
    """
    so_far = [case.name for case in recording.cases[: len(run.losses)]]
    left = {"weights", "moving"} | ({"slots"} if isinstance(run.optimizer, KerasOptimizer) else set())
    wanted = left if len(run.losses) == len(recording.cases) else set()
    rows = []
    for entry in recording.entries:
        if entry.check == "step" and entry.name in so_far:
            rows.append(_row(entry, recording, np.array([run.losses[so_far.index(entry.name)]])))
        elif entry.check in wanted:
            rows.append(_row(entry, recording, run.array(entry)))
    return rows


def _row(entry: Entry, recording: Recording, actual: np.ndarray) -> Row:
    found = recording.expected(entry).error(actual)
    errors, limits = {"float64": found.error}, limits_of(entry.check, None)
    return Row(entry.check, entry.name, "cpu", entry.shape, entry.peak, errors, limits, where=found.where)


def explain(
    run: TrainingRun,
    begin: Callable[[], TrainingRun],
    begin_right: Callable[[], TrainingRun],
    recording: Recording,
    rows: Sequence[Row],
) -> TrainingExplanation:
    """Says at which step a run parts from Keras's, and which mistake in Keras's rule gives the run that it is.

    Args:
        run: To the end.
        begin: Begins it anew.
        begin_right: Begins one by Keras's rule.
        recording: Of Keras's run.
        rows: Of the run.
    """
    failed = next(row for row in rows if not row.passed)
    error, whole = failed.errors["float64"], len(recording.cases)
    num_steps = whole
    if failed.check == "step":
        first = [case.name for case in recording.cases].index(failed.name)
        num_steps = min(first + 1 + STEPS_AFTER, whole)
    shorter = run if num_steps == whole else begin().go(recording, num_steps)
    right = begin_right().go(recording, num_steps)
    if not all(row.passed for row in rows_of(right, recording)):
        return TrainingExplanation(failed.check, failed.name, error, by_rule=False)

    def tried(chosen: Sequence[TrainingMistake]) -> Trial:
        other = begin_right()
        for mistake in chosen:
            mistake.plant(other)
        distance = _distance(shorter, other.go(recording, num_steps), recording)
        return Trial(chosen[-1].cause, chosen[-1].text, distance)

    known, away = list(mistakes(right, shorter.rates)), _distance(shorter, right, recording)
    found, every = _search([mistake for mistake in known if not mistake.alone], tried, away)
    if not found:
        found, others = _search([mistake for mistake in known if mistake.alone], tried, away)
        every += others
    best = tuple(sorted(every, key=lambda trial: trial.error))
    return TrainingExplanation(failed.check, failed.name, error, by_rule=True, found=found, tried=best)


def _search(
    known: Sequence[TrainingMistake], tried: Callable[[Sequence[TrainingMistake]], Trial], distance: float
) -> tuple[tuple[Trial, ...], list[Trial]]:
    """Adds mistake to mistake, each time the one that leads nearest to the port's run, until they lead there.

    Args:
        known: What to add.
        tried: How near a list of them leads.
        distance: How near none of them leads.

    Returns:
        Those that lead there, or none; and all trials.
    """
    chosen: list[TrainingMistake] = []
    found: list[Trial] = []
    every: list[Trial] = []
    while len(chosen) < MOST_TOGETHER:
        trials = []
        for mistake in (one for one in known if one not in chosen):
            trials.append((tried([*chosen, mistake]), mistake))
            if trials[-1][0].error <= GATE:
                break
        every += [trial for trial, _ in trials]
        if not trials:
            return (), every
        nearest, mistake = min(trials, key=lambda pair: pair[0].error)
        if not nearest.error < distance / NEARER:
            return (), every
        chosen.append(mistake)
        found.append(nearest)
        distance = nearest.error
        if distance <= GATE:
            return tuple(found), every
    return (), every


def _distance(actual: TrainingRun, expected: TrainingRun, recording: Recording) -> float:
    """How far one run is from another after as many steps: its losses, weights and statistics."""
    errors = [tap_error(np.array(actual.losses), np.array(expected.losses)).error]
    for entry in recording.entries:
        if entry.check in ("weights", "moving"):
            errors.append(tap_error(actual.array(entry), expected.array(entry), entry.peak).error)
    return max(errors, key=lambda error: (math.isnan(error), error))
