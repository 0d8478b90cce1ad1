"""The owner's own model, loaded by its Keras and called as its owner calls it: none of our readers stands between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import ml_dtypes  # TensorFlow brings it: its finfo knows bfloat16 too
import numpy as np
import tensorflow as tf

from resnet_keras.moving_statistics import STATISTICS, batch_variance, mean_scale
from resnet_keras.rebuilding import layer_objects
from resnet_keras.subject import Subject
from weight_transfer.layer_types.augmentations import AUGMENTATION_TYPES
from weight_transfer.parity.inputs import Case, mirrored
from weight_transfer.parity.recording import RecordingWriter

CHANCE = ("rate", "stddev")  # of a layer that draws numbers: what is zero where it changes nothing
# How far a model may be from its layers rebuilt in float64, by the precision it computes in; see docs/parity.md.
REBUILT_WITHIN: Mapping[str, float] = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
STORED_SHARE = 10  # of the gate's factor, 30: three roundings of what is stored
ROUNDINGS = 2  # units of the precision that a model's own rounding counts as, in training


def fits(subject: Subject, inputs: Sequence[np.ndarray]) -> bool:
    """Whether the loaded model takes inputs of this shape: it was not rebuilt for others."""
    given = [tuple(tensor.shape)[1:] for tensor in subject.reference.model.inputs]
    return all(
        len(shape) == array.ndim - 1 and all(n in (None, m) for n, m in zip(shape, array.shape[1:], strict=True))
        for shape, array in zip(given, inputs, strict=True)
    )


def record_owner(
    subject: Subject,
    writer: RecordingWriter,
    case: Case,
    inputs: Sequence[np.ndarray],
    skipped: MutableMapping[str, str],
    *,
    training: bool,
) -> str | None:
    """Writes down what the owner's own calls give: ``predict``, and ``model(x, training=True)`` with what it moves.

    Args:
        subject: The reference.
        writer: Of the recording; the case is in it.
        case: Which inputs.
        inputs: They, as Keras takes them.
        skipped: Takes what was not compared, and why.
        training: Whether to call the model in training mode too, its random layers held still.

    Returns:
        Why the layers rebuilt in float64 are no reference for this model; None where they are.

    Raises:
        ValueError: The model gives no number for these inputs.
    """
    model, batch = subject.reference.model, mirrored(inputs)
    names = subject.output_names
    rebuilt: dict[str, np.ndarray] = {}

    def note(name: str, tensor: Any) -> None:
        if name in names:
            rebuilt[name] = tensor.numpy()

    subject.run("float64", [*batch], note)
    precision = _precision(model)
    outputs = [np.asarray(y, np.float64) for y in _flat(subject, model.predict(_given(batch), verbose=0))]
    if not all(np.isfinite(output).all() for output in outputs):  # float16 ends at 65,504
        raise ValueError(f"in {precision} its predict gives no number for these images")
    called = [np.asarray(y, np.float64) for y in _flat(subject, model(_given(batch), training=False))]
    apart = max(_apart(one, other, float(np.max(np.abs(one)))) for one, other in zip(called, outputs, strict=True))
    if apart > REBUILT_WITHIN[precision]:  # TensorFlow's graph of some 3-D convolutions is not what they compute
        skipped["predict"] = (
            f"Keras contradicts itself: model.predict(x) is {apart:.1e} of the peak away from model(x), which the port "
            "is compared with"
        )
        outputs = called
    for name, output in zip(names, outputs, strict=True):
        writer.add(case.name, "predict", name, output)
        noise = writer.measure_noise(case.name, "predict", name, rebuilt[name])
        if not noise <= REBUILT_WITHIN[precision]:
            return (
                f"the model as {subject.reference.loaded_by} calls it gives other numbers than its layers rebuilt in "
                f"float64 ({name} differs by {noise:.1e} of the peak)"
            )
    if training and not any(type(layer).__name__ in AUGMENTATION_TYPES for layer in layer_objects(model).values()):
        limits = ml_dtypes.finfo(_dtype(precision))  # type: ignore[no-untyped-call]  # ml_dtypes gives it no types
        _record_training_call(subject, writer, case, batch, names, float(limits.eps) * ROUNDINGS)
    return None


def _record_training_call(
    subject: Subject,
    writer: RecordingWriter,
    case: Case,
    batch: Sequence[np.ndarray],
    names: Sequence[str],
    noise: float,
) -> None:
    statistics, shares = _statistics(subject)
    before = {name: variable.numpy() for name, variable in statistics.items()}
    outputs, moved = _training_call(subject, batch, statistics)
    # How far a last bit of the inputs moves it: a deep network that nobody trained amplifies every rounding.
    again, moved_again = _training_call(subject, _nudged(batch, noise / ROUNDINGS), statistics)
    for name, output, other in zip(names, outputs, again, strict=True):
        if np.isfinite(output).all():
            rounding = max(noise, _apart(output, other, float(np.max(np.abs(output)))))
            writer.add(case.name, "training call", name, output, noise=rounding)
    for name, change in moved.items():
        scale = _scale(name, moved, before, shares)
        # A float16 statistic near 72 moves in steps of 1/16: what is stored is rounded, before and after.
        limits = ml_dtypes.finfo(before[name].dtype)  # type: ignore[no-untyped-call]  # ml_dtypes gives it no types
        stored = float(limits.eps * np.max(np.abs(before[name]), initial=0.0)) / scale
        rounding = max(noise, _apart(change, moved_again[name], scale), stored / STORED_SHARE)
        writer.add(case.name, "moved statistics", name, change, scale, rounding)


def _training_call(
    subject: Subject, batch: Sequence[np.ndarray], statistics: Mapping[str, Any]
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """What the model gives in training mode, and by how much its statistics move, which are put back."""
    model = subject.reference.model
    before = {name: variable.numpy() for name, variable in statistics.items()}
    with held_still(model):
        outputs = [np.asarray(y, np.float64) for y in _flat(subject, model(_given(batch), training=True))]
    moved = {name: variable.numpy().astype(np.float64) - before[name] for name, variable in statistics.items()}
    for name, variable in statistics.items():
        variable.assign(before[name])
    return outputs, moved


def _nudged(batch: Sequence[np.ndarray], unit: float) -> list[np.ndarray]:
    """Inputs of which every other number, by chance, is larger by this part of itself."""
    random = np.random.default_rng(0)
    return [array * (1 + unit * random.integers(0, 2, array.shape)).astype(array.dtype) for array in batch]


def _apart(one: np.ndarray, other: np.ndarray, scale: float) -> float:
    apart = float(np.max(np.abs(one - other), initial=0.0))
    return apart / scale if scale and np.isfinite(apart) else 0.0


def _scale(
    name: str, moved: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray], shares: Mapping[str, float]
) -> float:
    """What a statistic can have moved by: of a mean that cancels to zero, by the deviation of what was averaged."""
    layer, role = name.rpartition("/")[::2]
    share, variance = shares[name], f"{layer}/moving_variance"
    given = before[variance], moved[variance], share
    scale = mean_scale(*given) if role == "moving_mean" else share * batch_variance(*given)
    return max(float(np.max(np.abs(moved[name]))), scale)


def _statistics(subject: Subject) -> tuple[dict[str, Any], dict[str, float]]:
    """The moving statistics of the loaded model by ``layer/role``, and the share that a step takes of the new one."""
    found: dict[str, Any] = {}
    shares: dict[str, float] = {}
    arrays = subject.variables_by_layer
    for path, layer in layer_objects(subject.reference.model).items():
        name = subject.layers.get(path, path)
        for one, variable in zip(arrays.get(name, ()), getattr(layer, "weights", ()), strict=False):
            if one.role in STATISTICS:
                found[one.name] = variable if isinstance(variable, tf.Variable) else variable.value
                shares[one.name] = 1 - layer.momentum
    return found, shares


@contextmanager
def held_still(model: Any) -> Iterator[None]:
    """Keeps a loaded model's random layers from changing anything."""
    before: list[tuple[Any, str, Any]] = []
    for layer in layer_objects(model).values():
        before += [(layer, name, getattr(layer, name)) for name in CHANCE if hasattr(layer, name)]
    try:
        for layer, name, _ in before:
            setattr(layer, name, 0.0)
        yield
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


def _given(batch: Sequence[np.ndarray]) -> Any:
    return batch[0] if len(batch) == 1 else [*batch]


def _flat(subject: Subject, outputs: Any) -> list[Any]:
    """What a call returned, in the order of the model's outputs."""
    if isinstance(outputs, Mapping):
        names = subject.graph.output_names or tuple(outputs)
        return [outputs[name] for name in names]
    return [*outputs] if isinstance(outputs, list | tuple) else [outputs]


def _precision(model: Any) -> str:
    """The narrowest in which some layer computes."""
    computed = {str(getattr(layer, "compute_dtype", "float32")) for layer in model.layers}
    return next((name for name in ("bfloat16", "float16", "float32") if name in computed), "float64")


def _dtype(precision: str) -> Any:
    return tf.bfloat16.as_numpy_dtype if precision == "bfloat16" else np.dtype(precision)
