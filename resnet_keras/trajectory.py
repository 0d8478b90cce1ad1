"""The reference side of a training run: trains with Keras, writes down each loss and what is left at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from resnet_keras.moving_statistics import STATISTICS
from resnet_keras.optimizers import build_optimizer, config_of, slots_of
from resnet_keras.recording import mean_peaks, origin_of, peak_of, peaks_of
from resnet_keras.subject import Subject, subject_of
from weight_transfer.errors import VerificationError
from weight_transfer.optimizer.spec import spec_of_config
from weight_transfer.parity.inputs import Case, load_cases
from weight_transfer.parity.protocol import TrainingReferenceRequest, Written
from weight_transfer.parity.recording import RecordingWriter
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.progress import OnProgress, steps

GATE = TOLERANCES["weights"]["float64"].error
Peaks = dict[str, dict[str, float]]  # by layer and array


def record_runs(request: TrainingReferenceRequest, on_progress: OnProgress) -> Written:
    """Trains the reference in float64, once for each optimizer, each time from the file's weights.

    Args:
        request: What to train, on which batches, by which optimizers.
        on_progress: Called with the share that is done.
    """
    subject = subject_of(request.model, ("float64",))
    batches = [(case, subject.inputs(case)) for case in load_cases(request.inputs)]
    training = _Training(subject)
    progress = steps(len(request.runs) * len(batches), on_progress)
    for run in request.runs:
        optimizer = build_optimizer(subject.reference.module, spec_of_config(run.optimizer))
        with RecordingWriter(run.output, request.detail, run.output.parent) as writer:
            losses = {}
            for case, loss in training.run(optimizer, batches, nudged=run.nudged):
                writer.add_case(case)
                losses[case.name] = loss
                next(progress)
            for name, loss in losses.items():  # one that is nearly 0 has few right digits
                writer.add(name, "step", name, np.array([loss]), peak=max(map(abs, losses.values())))
            for check, name, array, peak in training.state(optimizer, len(batches)):
                writer.add(batches[-1][0].name, check, name, array, peak)
            writer.origin = origin_of(subject, request.model, {}, config_of(subject.reference.module, optimizer))
    return Written()


class _Training:
    """The reference, to be trained more than once: TensorFlow compiles its step the first time alone."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.variables = subject.variables("float64")
        self.trained = [one for one in self.variables if one.trains]
        self.initial = [one.array for one in self.variables]
        self.peaks: Peaks = {}
        self._gradients = tf.function(self._step, autograph=False)

    def _step(self, inputs: list[Any], labels: Any) -> tuple[Any, Any, Any]:
        """The loss, its gradients, and the largest number of each; batch norms' statistics move."""
        with tf.GradientTape() as tape:
            logits, _ = self.subject.run("float64", inputs, lambda tap, value: None, training=True)
            loss = self.subject.loss(logits, labels)
        found = tape.gradient(loss, [one.tensor for one in self.trained])
        gradients = [None if one is None else tf.convert_to_tensor(one) for one in found]
        return loss, gradients, [tf.reduce_max(tf.abs(one)) for one in gradients if one is not None]

    def run(
        self, optimizer: Any, batches: Sequence[tuple[Case, list[np.ndarray]]], *, nudged: bool = False
    ) -> Iterator[tuple[Case, float]]:
        """Trains from the first weights; yields each batch with its loss."""
        for variable, array in zip(self.variables, self.initial, strict=True):
            variable.tensor.assign(np.nextafter(array, np.inf) if nudged else array)
        self.peaks = {one.layer: {} for one in self.trained}
        optimizer.build([one.own for one in self.trained])

        def apply(gradients: list[Any]) -> None:
            pairs = [(g, one.own) for g, one in zip(gradients, self.trained, strict=True) if g is not None]
            optimizer.apply_gradients(pairs)

        if isinstance(optimizer.get_config()["learning_rate"], Mapping):
            # A schedule's roundings are others in one graph, as in `fit`; else compiling it is not worth its time.
            apply = tf.function(apply, autograph=False)
        for case, arrays in batches:
            labels = None if case.labels is None else tf.constant(case.labels, tf.int64)
            loss, gradients, largest = self._gradients([tf.constant(array) for array in arrays], labels)
            if not np.isfinite(loss):
                raise VerificationError(
                    f"Keras's loss is {float(loss)} at {case.name}: such a run proves nothing. Lower --learning-rate."
                )
            apply(gradients)
            known = [one for one, gradient in zip(self.trained, gradients, strict=True) if gradient is not None]
            for one, peak in zip(known, largest, strict=True):
                before = self.peaks[one.layer].get(one.name, 0.0)
                self.peaks[one.layer][one.name] = max(before, float(peak))
            yield case, float(loss)

    def state(self, optimizer: Any, num_steps: int) -> Iterator[tuple[Any, str, np.ndarray, float | None]]:
        """Yields check, name, array and peak of all weights, slots and statistics; none that is all zero.

        What only rounding has moved, such as a bias before a batch norm, is measured against the
        largest of its layer's, and may be as far off as rounding has moved it: with Adam, epsilon
        alone divides a gradient of 1e-17.
        """
        gradients = {layer: peaks for layer, peaks in self.peaks.items() if peaks}
        rounding = {name for name, peak in peaks_of(gradients).items() if peak is not None}
        start = {one.name: array for one, array in zip(self.variables, self.initial, strict=True)}
        arrays = {"": [one.array for one in self.trained], **slots_of(optimizer, len(self.trained))}
        for slot, values in arrays.items():
            largest: dict[str, float] = {}
            for one, array in zip(self.trained, values, strict=True):
                largest[one.layer] = max(largest.get(one.layer, 0.0), peak_of(array))
            for one, array in zip(self.trained, values, strict=True):
                if not peak_of(array):
                    continue
                peak = largest[one.layer] if one.name in rounding else None
                if slot:
                    yield "slots", f"{one.name} {slot}", array, peak
                else:
                    moved = peak_of(array - start[one.name])
                    yield "weights", one.name, array, None if peak is None else max(peak, moved / GATE)
        means = mean_peaks(self.subject, start, num_steps)
        for one in self.variables:
            if one.role in STATISTICS:
                yield "moving", one.name, one.array, means.get(one.name)
