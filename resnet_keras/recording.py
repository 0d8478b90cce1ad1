"""The reference side of a verification: runs Keras, writes down what every layer gives."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import tensorflow as tf

from resnet_keras.exact_runs import exact_sizes, record_exact_runs
from resnet_keras.moving_statistics import STATISTICS, mean_scale
from resnet_keras.owner import CANNOT_BE_CALLED, OwnersModel, fits
from resnet_keras.rebuilt_model import layer_objects
from resnet_keras.subject import Subject, subject_of
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.description import MovingVariance, moving_variance_of
from weight_transfer.parity.environment import environment
from weight_transfer.parity.exact_runs import EXACT_REGIMES, QUICK_REGIMES
from weight_transfer.parity.inputs import Case, load_cases
from weight_transfer.parity.memory import free_memory
from weight_transfer.parity.protocol import ReferenceModel, ReferenceRequest, Written
from weight_transfer.parity.recorded_network import RANDOM_CLASSES, RecordedLayer, RecordedNetwork
from weight_transfer.parity.recording import TOP, Origin, RecordingWriter
from weight_transfer.progress import OnProgress, steps

ZERO = 1e-9  # of its layer's largest: a smaller gradient is zero but for rounding
ZERO_LAYER = 1e-12  # of the largest of all: so are all gradients of a layer that is fed nothing but zeros


def record(request: ReferenceRequest, on_progress: OnProgress) -> Written:
    """Runs the reference in float64 and float32.

    Args:
        request: What to run, on which inputs.
        on_progress: Called with the share that is done.
    """
    subject = subject_of(request.model, ("float64", "float32"))
    shown = [(case, subject.inputs(case)) for case in load_cases(request.inputs)]
    progress = steps(sum(2 if case.check == "inference" else 1 for case, _ in shown), on_progress)
    skipped: dict[str, str] = {}
    trains = any(case.check == "training" for case, _ in shown)
    owner: OwnersModel | None = None
    is_called = request.of_a_port and request.model.reference == "file"
    owners_case = _owners_case(subject, shown) if is_called else None
    with RecordingWriter(request.output, request.detail, request.output.parent) as writer:
        writer.feeds = subject.feeds
        for case, inputs in shown:
            if case.tentative and (reason := _refusal(subject, inputs)):
                skipped[case.name] = f"Keras cannot take it: {reason}"
                continue
            if case.check == "inference":
                writer.add_case(case)
                _record_inference(subject, writer, case, inputs, progress)
            if case.name == owners_case and owner is None:
                owner = _owners_model(subject, case, inputs, skipped)
            if case.check == "training":
                writer.add_case(case)
                skipped |= _record_training(subject, writer, case, inputs)
                next(progress)
        if request.of_a_port:
            skipped |= _record_exact_runs(subject, writer, training=trains, quick=request.quick)
        network = _network_of(subject, request.model)
        origin = dataclasses.replace(origin_of(subject, request.model, skipped), network=network)
        del subject  # its rebuilt models make room for what the owner's calls need
        free_memory()
        doubt = _record_owner(owner, writer, request, skipped, training=trains) if owner is not None else ""
        writer.origin = dataclasses.replace(origin, doubt=doubt, skipped=skipped)
        writer.facts = request.facts
    return Written()


def _record_exact_runs(subject: Subject, writer: RecordingWriter, *, training: bool, quick: bool) -> dict[str, str]:
    """Writes down what the layers give for integers; returns why not, where Keras cannot compute it."""
    try:
        seed, sizes = secrets.randbits(63), exact_sizes(subject, quick=quick)
        writer.exact_runs = record_exact_runs(
            subject,
            writer,
            seed,
            *sizes,
            regimes=QUICK_REGIMES if quick else EXACT_REGIMES,
            training=training and not quick,
        )
    except (tf.errors.OpError, LookupError, ValueError, TypeError) as error:
        return {"exact": f"no exact runs: Keras cannot compute them: {(str(error).splitlines() or [''])[0]}"}
    return {}


def _record_training(subject: Subject, writer: RecordingWriter, case: Case, inputs: list[np.ndarray]) -> dict[str, str]:
    """Writes down what a step of the whole network gives; returns what it says nothing of, and why."""
    try:
        tensors = list(_training(subject, inputs))
    except (tf.errors.OpError, LookupError) as error:
        return {"training": f"Keras cannot train this network in float64: {str(error).splitlines()[0]}"}
    for check, name, array, peak in tensors:
        if peak != 0.0:
            writer.add(case.name, check, name, array, peak)
    zero = [name for _, name, _, peak in tensors if peak == 0.0]
    return {"gradient": f"gradients that are zero in Keras prove nothing: {', '.join(zero)}"} if zero else {}


def _refusal(subject: Subject, inputs: list[np.ndarray]) -> str | None:
    """Why the reference cannot take these inputs, if it cannot."""
    try:
        subject.run("float64", inputs, lambda tap, value: None)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        return str(error).splitlines()[0]
    return None


def _network_of(subject: Subject, model: ReferenceModel) -> RecordedNetwork:
    """The inputs, the layers with arrays and those that draw numbers, as the file has them."""
    originals = layer_objects(subject.reference.model)
    arrays = subject.variables_by_layer
    layers = []
    for path, layer in {**subject.graph.listed, **subject.graph.layers}.items():
        name, original = subject.layers.get(path, path), originals.get(path)
        held = arrays.get(name, [])
        if original is None or not (held or layer.class_name in RANDOM_CLASSES):
            continue
        learning = {id(variable) for variable in original.trainable_weights}
        own = zip(held, original.weights, strict=False)
        layers.append(
            RecordedLayer(
                name=name,
                class_name=layer.class_name,
                settings=layer.settings,
                in_shapes=layer.in_shapes,
                arrays={one.role: tuple(one.own.shape) for one in held},
                learning=tuple(one.role for one, variable in own if id(variable) in learning),
                trainable=bool(original.trainable),
                calls={
                    subject.taps.get(call.value, call.value): call.training
                    for call in subject.graph.calls
                    if call.layer == path
                },
            )
        )
    inputs = [tuple(tensor.shape)[1:] for tensor in subject.reference.model.inputs]
    shapes, rule = tuple(tuple(shape) for shape in inputs), _variance_rule(subject, model)
    return RecordedNetwork(shapes, tuple(layers), rule, subject.graph.channels_last)


def _variance_rule(subject: Subject, model: ReferenceModel) -> MovingVariance | None:
    """The rule of the file's own Keras; in float64 tf_keras has no fused kernel, and Keras 3's rule."""
    with read_checkpoint(model.checkpoint) as checkpoint:
        version, backend = checkpoint.keras_version, checkpoint.backend
    if version is None:
        return None
    rule = moving_variance_of(version, backend)
    dtypes = {layer.compute_dtype for layer in subject.reference.model.layers}
    return "keras3" if rule == "tf_keras" and "float64" in dtypes else rule


def origin_of(
    subject: Subject,
    model: ReferenceModel,
    skipped: Mapping[str, str],
    optimizer: Mapping[str, Any] | None = None,
) -> Origin:
    """Returns what a recording says of its reference.

    Args:
        subject: The reference.
        model: What was asked for.
        skipped: Why a check was left out, by check.
        optimizer: Of a training run, its config as Keras serializes it.
    """
    return Origin(
        source=model.checkpoint.name,
        sha256=model.sha256,
        reference=model.reference,
        loaded_by=subject.reference.loaded_by,
        recorded=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment(),
        module=subject.reference.module.__name__,
        preprocessing=subject.preprocessing,
        channels=subject.channels,
        last_activations=subject.last_activations,
        outputs=subject.output_names,
        skipped=skipped,
        optimizer=optimizer,
    )


def _owners_case(subject: Subject, shown: Sequence[tuple[Case, list[np.ndarray]]]) -> str | None:
    """The inputs to call the loaded model with: a picture, or noise. Of constants a max pool has no one largest place,
    and the gradient of Keras's over volumes goes to all of them, PyTorch's to the first.
    """
    fitting = [case for case, inputs in shown if not case.tentative and fits(subject, inputs)]
    noise = (case for case in fitting if not case.raw and case.check == "training")
    pictures = (case for case in fitting if case.check == "inference")
    chosen = next(itertools.chain(noise, pictures), None)
    return None if chosen is None else chosen.name


def _owners_model(
    subject: Subject, case: Case, inputs: list[np.ndarray], skipped: dict[str, str]
) -> OwnersModel | None:
    try:
        return OwnersModel(subject, case, inputs)
    except CANNOT_BE_CALLED as error:
        skipped["predict"] = _not_called(error)
        return None


def _record_owner(
    owner: OwnersModel, writer: RecordingWriter, request: ReferenceRequest, skipped: dict[str, str], *, training: bool
) -> str:
    """The owner's own calls; returns why the reference may be another model."""
    try:
        return owner.record(writer, request.model.checkpoint, skipped, training=training, step=not request.quick)
    except CANNOT_BE_CALLED as error:
        skipped["predict"] = _not_called(error)
        return ""


def _not_called(error: Exception) -> str:
    return f"the model as it was loaded cannot be called: {(str(error).splitlines() or [''])[0]}"


def _record_inference(
    subject: Subject, writer: RecordingWriter, case: Case, inputs: list[np.ndarray], progress: Iterator[None]
) -> None:
    def add(tap: str, value: Any) -> None:
        writer.add(case.name, "inference", tap, value.numpy())

    output = subject.run("float64", inputs, add)[1].numpy()
    if case.raw and output.ndim == 2 and output.shape[1] > 1:
        writer.tops[case.name] = [_top(row) for row in output]
    next(progress)

    def measure(tap: str, value: Any) -> None:
        writer.measure_noise(case.name, "inference", tap, value.numpy())

    subject.run("float32", inputs, measure)
    next(progress)


def _top(scores: np.ndarray) -> list[tuple[int, float]]:
    best = np.argsort(-scores, kind="stable")[:TOP]
    return [(int(number), float(scores[number])) for number in best]


def _training(subject: Subject, inputs: list[np.ndarray]) -> Iterator[tuple[Any, str, np.ndarray, float | None]]:
    """One step in float64: yields check, name, tensor and peak of all it gives."""
    found: list[tuple[str, np.ndarray]] = []
    variables = subject.variables("float64")
    before = {one.name: one.array for one in variables if one.role in STATISTICS}
    with tf.GradientTape() as tape:
        logits, _ = subject.run("float64", inputs, lambda tap, y: found.append((tap, y.numpy())), training=True)
        loss = subject.loss(logits)
    for tap, value in found:
        yield "training", tap, value, None
    yield "loss", "loss", loss.numpy().reshape(1), None
    trained = [one for one in variables if one.trains]
    by_layer: dict[str, list[tuple[str, np.ndarray]]] = {}
    for one, gradient in zip(trained, tape.gradient(loss, [one.tensor for one in trained]), strict=True):
        if gradient is not None:
            by_layer.setdefault(one.layer, []).append((one.name, tf.convert_to_tensor(gradient).numpy()))
    peaks = peaks_of({layer: {name: peak_of(array) for name, array in roles} for layer, roles in by_layer.items()})
    for roles in by_layer.values():
        for name, gradient in roles:
            yield "gradient", name, gradient, peaks[name]
    peaks_of_means = mean_peaks(subject, before)
    for one in variables:
        if one.role in STATISTICS:
            yield "statistics", one.name, one.array, peaks_of_means.get(one.name)


def mean_peaks(subject: Subject, before: Mapping[str, np.ndarray], num_steps: int = 1) -> dict[str, float]:
    """Returns what to measure an error of each moving mean against: its own peak, or the scale of what was averaged.

    The mean over a batch can be zero but for rounding, as that of a convolution without bias behind a batch norm is.
    Its rounding is then one of the numbers that were averaged, not of their mean.

    Args:
        subject: After the steps.
        before: The moving statistics before them, by name.
        num_steps: How many.
    """
    layers = {name: subject.models["float64"].layers.get(path) for path, name in subject.layers.items()}
    after = {one.name: one for one in subject.variables("float64") if one.role in STATISTICS}
    found = {}
    for one in after.values():
        variance = f"{one.layer}/moving_variance"
        momentum = getattr(layers[one.layer], "momentum", None)
        if one.role != "moving_mean" or variance not in after or momentum is None:
            continue
        moved = after[variance].array - before[variance]
        scale = mean_scale(before[variance], moved, 1 - float(momentum) ** num_steps)
        found[one.name] = max(peak_of(one.array), scale)
    return found


def peak_of(array: np.ndarray) -> float:
    """Returns max|array|."""
    return float(np.max(np.abs(array), initial=0.0))


def peaks_of(gradients: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    """Returns what to measure an error of each array against, where it is not the array's own peak.

    A gradient that is zero but for rounding, such as that of a bias before a batch norm, is measured
    against the largest of its layer's, or of all where these are zero too.

    Args:
        gradients: By layer and array, the largest gradient.

    Returns:
        By array; None for its own peak.
    """
    of_all = max((peak for roles in gradients.values() for peak in roles.values()), default=0.0)
    found: dict[str, float | None] = {}
    for roles in gradients.values():
        largest = max(roles.values())
        is_fed_zeros = min(roles.values()) == 0.0  # its kernel learns nothing; what its bias does may be rounding
        if largest <= (ZERO if is_fed_zeros else ZERO_LAYER) * of_all:
            largest = of_all
        found |= {name: largest if own <= ZERO * largest else None for name, own in roles.items()}
    return found
