"""The owner's own model, loaded by its Keras and called as its owner calls it: none of our readers stands between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes  # TensorFlow brings it: its finfo knows bfloat16 too
import numpy as np
import tensorflow as tf

from resnet_keras.moving_statistics import STATISTICS, batch_variance, mean_scale
from resnet_keras.owner_step import NotCompared, held_still, one_or_list, record_step
from resnet_keras.rebuilt_model import layer_objects
from resnet_keras.subject import Subject
from weight_transfer.layer_types.augmentations import AUGMENTATION_TYPES
from weight_transfer.parity.inputs import Case, mirrored
from weight_transfer.parity.memory import free_memory
from weight_transfer.parity.recording import RecordingWriter

# What a Keras raises that cannot call a model, or train it.
CANNOT_BE_CALLED = (tf.errors.OpError, ValueError, TypeError, NotImplementedError)
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


class OwnersModel:
    """The model as its Keras loaded it, and what is needed to call it when the rest of the reference is gone.

    Args:
        subject: The reference, with the file's arrays.
        case: Which inputs.
        inputs: They, as Keras takes them.
    """

    def __init__(self, subject: Subject, case: Case, inputs: Sequence[np.ndarray]) -> None:
        self.reference, self.model, self.case = subject.reference, subject.reference.model, case.name
        self.batch, self.names = mirrored(inputs), subject.output_names
        self.keys = subject.graph.output_names
        self.last_activations = subject.last_activations
        self.rebuilt: dict[str, np.ndarray] = {}
        held = subject.variables_by_layer
        self.arrays = {
            path: [(one.name, one.role) for one in held.get(subject.layers.get(path, path), ())]
            for path in layer_objects(self.model)
        }

        def note(name: str, tensor: Any) -> None:
            if name in self.names:
                self.rebuilt[name] = tensor.numpy()

        subject.run("float64", [*self.batch], note)

    def record(
        self, writer: RecordingWriter, path: Path, skipped: MutableMapping[str, str], *, training: bool, step: bool
    ) -> str:
        """Writes down what the owner's own calls give: ``predict``, ``model(x, training=True)`` with what it moves, and
        one ``train_on_batch``.

        Args:
            writer: Of the recording; the case is in it.
            path: The model's file.
            skipped: Takes what was not compared, and why.
            training: Whether to call the model in training mode too, its random layers held still.
            step: Whether to train it for a step.

        Returns:
            Why the layers rebuilt in float64 are no reference for this model; empty where they are.

        Raises:
            ValueError: The model gives no number for these inputs.
        """
        precision = _precision(self.model)
        doubt = self._record_predict(writer, precision, skipped)
        augments = any(type(layer).__name__ in AUGMENTATION_TYPES for layer in layer_objects(self.model).values())
        if doubt or not training or augments:
            return doubt
        noise = _eps(_dtype(precision)) * ROUNDINGS
        self._record_training_call(writer, noise)
        if not step:
            return ""
        free_memory()
        try:
            if precision not in ("float32", "float64"):
                raise NotCompared(f"the model computes in {precision}")
            writer.owner_step = record_step(
                self.reference,
                path,
                writer,
                self.case,
                self.batch,
                lambda batch, seed: _nudged(batch, noise / ROUNDINGS, seed),
                self.arrays,
                self.last_activations,
                noise,
            )
        except (NotCompared, *CANNOT_BE_CALLED) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            skipped["trained"] = f"no training step of the owner's own model: {reason}"
        return ""

    def _record_predict(self, writer: RecordingWriter, precision: str, skipped: MutableMapping[str, str]) -> str:
        with self._statistics_kept():
            outputs = self._outputs(self.model.predict(one_or_list(self.batch), verbose=0))
        if not all(np.isfinite(output).all() for output in outputs):  # float16 ends at 65,504
            raise ValueError(f"in {precision} its predict gives no number for these images")
        with self._statistics_kept():
            called = self._outputs(self.model(one_or_list(self.batch), training=False))
        apart = max(_apart(one, other, float(np.max(np.abs(one)))) for one, other in zip(called, outputs, strict=True))
        if apart > REBUILT_WITHIN[precision]:  # TensorFlow's graph of some 3-D convolutions is not what they compute
            skipped["predict"] = (
                f"Keras contradicts itself: model.predict(x) is {apart:.1e} of the peak away from model(x), which the "
                "port is compared with"
            )
            outputs = called
        for name, output in zip(self.names, outputs, strict=True):
            writer.add(self.case, "predict", name, output)
            noise = writer.measure_noise(self.case, "predict", name, self.rebuilt[name])
            if not noise <= REBUILT_WITHIN[precision]:
                return (
                    f"the model as {self.reference.loaded_by} calls it gives other numbers than its layers rebuilt in "
                    f"float64 ({name} differs by {noise:.1e} of the peak)"
                )
        return ""

    def _record_training_call(self, writer: RecordingWriter, noise: float) -> None:
        statistics, shares = self._statistics()
        before = {name: variable.numpy() for name, variable in statistics.items()}
        outputs, moved = self._training_call(self.batch, statistics)
        # How far a last bit of the inputs moves it: a deep network that nobody trained amplifies every rounding.
        again, moved_again = self._training_call(_nudged(self.batch, noise / ROUNDINGS, 0), statistics)
        for name, output, other in zip(self.names, outputs, again, strict=True):
            if np.isfinite(output).all():
                rounding = max(noise, _apart(output, other, float(np.max(np.abs(output)))))
                writer.add(self.case, "training call", name, output, noise=rounding)
        for name, change in moved.items():
            scale = _scale(name, moved, before, shares)
            # A float16 statistic near 72 moves in steps of 1/16: what is stored is rounded, before and after.
            stored = _eps(before[name].dtype) * float(np.max(np.abs(before[name]), initial=0.0)) / scale
            rounding = max(noise, _apart(change, moved_again[name], scale), stored / STORED_SHARE)
            writer.add(self.case, "moved statistics", name, change, scale, rounding)

    def _training_call(
        self, batch: Sequence[np.ndarray], statistics: Mapping[str, Any]
    ) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """What the model gives in training mode, and by how much its statistics move, which are put back."""
        before = {name: variable.numpy() for name, variable in statistics.items()}
        with self._statistics_kept(), held_still(self.model):
            outputs = self._outputs(self.model(one_or_list(batch), training=True))
            moved = {name: variable.numpy().astype(np.float64) - before[name] for name, variable in statistics.items()}
        return outputs, moved

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Puts the moving statistics back afterwards, which a layer called with ``training=True`` moves always."""
        statistics, _ = self._statistics()
        before = {name: variable.numpy() for name, variable in statistics.items()}
        try:
            yield
        finally:
            for name, variable in statistics.items():
                variable.assign(before[name])

    def _statistics(self) -> tuple[dict[str, Any], dict[str, float]]:
        """The moving statistics by ``layer/role``, and the share that a step takes of the new one."""
        found: dict[str, Any] = {}
        shares: dict[str, float] = {}
        for path, layer in layer_objects(self.model).items():
            for (name, role), variable in zip(self.arrays[path], getattr(layer, "weights", ()), strict=False):
                if role in STATISTICS:
                    found[name] = variable if isinstance(variable, tf.Variable) else variable.value
                    shares[name] = 1 - layer.momentum
        return found, shares

    def _outputs(self, outputs: Any) -> list[np.ndarray]:
        """What a call returned, in the order of the model's outputs."""
        if isinstance(outputs, Mapping):
            outputs = [outputs[name] for name in self.keys or tuple(outputs)]
        listed = [*outputs] if isinstance(outputs, list | tuple) else [outputs]
        return [np.asarray(output, np.float64) for output in listed]


def _nudged(batch: Sequence[np.ndarray], unit: float, seed: int) -> list[np.ndarray]:
    """Inputs of which every other number, by chance, is larger by this part of itself."""
    random = np.random.default_rng(seed)
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


def _precision(model: Any) -> str:
    """The narrowest in which some layer computes."""
    computed = {str(getattr(layer, "compute_dtype", "float32")) for layer in model.layers}
    return next((name for name in ("bfloat16", "float16", "float32") if name in computed), "float64")


def _dtype(precision: str) -> Any:
    return tf.bfloat16.as_numpy_dtype if precision == "bfloat16" else np.dtype(precision)


def _eps(dtype: Any) -> float:
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]  # ml_dtypes gives it no types
