"""One ``train_on_batch`` of the owner's own model: the file's loss, penalties, constraints, optimizer and slots."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from resnet_keras.allowlist import is_keras_training
from resnet_keras.moving_statistics import STATISTICS
from resnet_keras.optimizers import config_of
from resnet_keras.rebuilt_model import layer_objects
from resnet_keras.reference import Reference, load_compiled
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import OPTIMIZERS
from weight_transfer.optimizer.spec import spec_of_config
from weight_transfer.parity.owner_step import STEP_IMAGES, OwnerStep, drawn_target, target_draw
from weight_transfer.parity.recording import RecordingWriter

RATE = 0.01  # of the optimizer of a file that was saved without one
LOSSES = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
NUDGES = 2  # further steps on inputs that a last bit was changed of
ROUNDING = 1e-5  # of the largest of its layer: a move as small as this is what float32 has rounded
MOST_ROUNDED = 100  # times its rounding: a move that is less says little of its own
CHANCE = ("rate", "stddev")  # of a layer that draws numbers: what is zero where it changes nothing


class NotCompared(Exception):
    """Why the owner's step cannot be compared, in words."""


def record_step(
    reference: Reference,
    path: Path,
    writer: RecordingWriter,
    case: str,
    batch: Sequence[np.ndarray],
    nudged: Callable[[Sequence[np.ndarray], int], Sequence[np.ndarray]],
    arrays: Mapping[str, Sequence[tuple[str, str]]],
    last_activations: Sequence[str | None],
    noise: float,
) -> OwnerStep:
    """Takes a step, and writes down the loss, and by how much each array moved.

    Args:
        reference: The model as Keras loaded it.
        path: Its file.
        writer: Of the recording.
        case: Name of the inputs.
        batch: The inputs, as Keras takes them.
        nudged: Returns inputs in which some last bits are others, by a seed.
        arrays: By the path of a layer, name and role of each of its arrays, in the order of its variables.
        last_activations: Of each output, the softmax or sigmoid that ends it.
        noise: What the model's own rounding counts as at least.

    Raises:
        NotCompared: It cannot be trained here as its file says, and why.
    """
    if not reference.model.trainable_variables:
        raise NotCompared("nothing in it learns")
    model, facts = _compiled(reference, path, last_activations)
    given = [array[:STEP_IMAGES] for array in batch]
    variables = [*_variables(model), *_variables(model.optimizer)]
    kept = [np.array(variable) for variable in variables]
    outputs = _listed(model.predict_on_batch(one_or_list(given)))
    _put_back(variables, kept)  # a batch norm that is called with training=True moves always
    names = tuple(sorted(outputs)) if isinstance(outputs, dict) else None
    shapes = [np.shape(outputs[name]) for name in names] if names is not None else [np.shape(y) for y in outputs]
    losses = _names_of(facts["loss"], names, len(shapes))
    draws = tuple(target_draw(loss, tuple(shape)) for loss, shape in zip(losses, shapes, strict=True))
    drawn = [drawn_target(number, draw).astype(np.float32) for number, draw in enumerate(draws)]
    targets = dict(zip(names, drawn, strict=True)) if names is not None else one_or_list(drawn)
    config, iterations = config_of(reference.module, model.optimizer), int(np.asarray(model.optimizer.iterations))
    own = _by_name(model, arrays)
    places = {id(variable): place for place, variable in enumerate(variables)}
    before = {name: kept[places[id(variable)]] for name, variable in own.items()}
    loss, after = _step(model, given, targets), {name: np.array(variable) for name, variable in own.items()}
    if not np.isfinite(loss):
        raise NotCompared("its loss is no number")
    other_losses, apart = [loss], dict.fromkeys(own, 0.0)
    for seed in range(1, NUDGES + 1):
        _put_back(variables, kept)
        other_losses.append(_step(model, nudged(given, seed), targets))
        for name, variable in own.items():
            apart[name] = max(apart[name], _largest(np.asarray(variable) - after[name]))
    spread = max(abs(other - loss) for other in other_losses) / abs(loss) if loss else 0.0
    if loss:  # one that is zero proves nothing
        writer.add(case, "trained loss", "loss", np.array([loss]), noise=max(noise, spread))
    learning = {id(variable) for variable in model.trainable_variables}
    unit = float(np.finfo(np.float32).eps)
    rounded = {name: apart[name] + unit * _largest(before[name]) for name in own}
    learns = {name: id(variable) in learning for name, variable in own.items()}
    scales = _scales({name: _largest(after[name] - before[name]) for name in own}, rounded, learns)
    for name in own:
        scale = max(scales[name], unit * _largest(before[name]), unit)
        # What is frozen does not move by a bit.
        rounding = max(noise, rounded[name] / scale) if learns[name] else None
        change = after.pop(name).astype(np.float64) - before[name]
        writer.add(case, "trained weights", name, change, scale, rounding)
    return OwnerStep(case, optimizer=config, iterations=iterations, targets=draws, names=names, **facts)


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


def _compiled(reference: Reference, path: Path, last_activations: Sequence[str | None]) -> tuple[Any, dict[str, Any]]:
    """The model, compiled as its file says where it says it; and how, as `OwnerStep` has it."""
    with read_checkpoint(path) as checkpoint:
        training, version = checkpoint.training, checkpoint.keras_version
        path_is_h5 = checkpoint.container == "legacy-h5"
    loss = None if training is None else training.get("loss")
    facts: dict[str, Any] = {"loss": loss, "loss_weights": None, "keras_version": version, "notes": ()}
    if training is not None and loss is not None:
        if not is_keras_training(training):
            raise NotCompared("the file was compiled with a loss, a metric or an optimizer that is not Keras's own")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an older Keras's arguments
                model = load_compiled(reference, path)
        except Exception as error:  # whatever this Keras raises
            raise NotCompared(f"{reference.loaded_by} does not compile it: {_line(error)}") from error
        if getattr(model, "optimizer", None) is None:
            raise NotCompared(f"{reference.loaded_by} loads it without its optimizer")
        if type(model.optimizer).__name__ not in OPTIMIZERS:
            raise NotCompared(f"its optimizer, {type(model.optimizer).__name__}, is not known here")
        try:
            spec_of_config(config_of(reference.module, model.optimizer))
        except TransferError as error:
            raise NotCompared(str(error).splitlines()[0]) from error
        facts |= {"loss_weights": training.get("loss_weights"), "loss": json.loads(json.dumps(loss))}
        if path_is_h5 and reference.module.__name__ == "keras":
            anew = type(model.optimizer).from_config(model.optimizer.get_config())
            model.compile(anew, model.loss, loss_weights=facts["loss_weights"])
            facts["notes"] = ("the optimizer begins anew: Keras 3 does not go on with what an .h5 file has of it",)
        model.run_eagerly = True
        return model, facts
    model = reference.model
    chosen = [LOSSES.get(activation or "", "mean_squared_error") for activation in last_activations]
    note = f"trained by SGD at a rate of {RATE} on {' and '.join(dict.fromkeys(chosen))}: the file says no optimizer"
    per_output = chosen if len(chosen) > 1 else chosen[0]
    model.compile(reference.module.optimizers.SGD(RATE), per_output, run_eagerly=True)
    return model, {**facts, "loss": per_output, "notes": (note,)}


def _scales(moved: Mapping[str, float], rounded: Mapping[str, float], learns: Mapping[str, bool]) -> dict[str, float]:
    """What to measure an error of each array's move against: its largest, or its layer's where it is but rounding.

    The gradient of a bias in front of a batch norm is zero, and in float32 some rounding of the layer's others.

    Args:
        moved: By how much each array moved.
        rounded: What of that may be rounding.
        learns: Whether it learns.
    """
    of_layer: dict[str, float] = {}
    for name, size in moved.items():
        layer = name.rpartition("/")[0]
        of_layer[layer] = max(of_layer.get(layer, 0.0), size)
    of_all = max(of_layer.values(), default=0.0)
    layers = {layer: of_all if size <= ROUNDING * of_all else size for layer, size in of_layer.items()}
    sizes = {name: (size, layers[name.rpartition("/")[0]]) for name, size in moved.items()}
    return {
        name: layer if learns[name] and own <= max(ROUNDING * layer, MOST_ROUNDED * rounded[name]) else own
        for name, (own, layer) in sizes.items()
    }


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def _step(model: Any, batch: Sequence[np.ndarray], targets: Any) -> float:
    """Takes a step, with random layers held still; returns its loss, the penalties included."""
    model.reset_metrics()
    with held_still(model):
        return float(np.ravel(model.train_on_batch(one_or_list(batch), targets, return_dict=True)["loss"])[0])


def _by_name(model: Any, arrays: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any]:
    """The variables that a step may move, by ``layer/role``; what a batch norm averages is compared elsewhere."""
    found: dict[str, Any] = {}
    for path, layer in layer_objects(model).items():
        for (name, role), variable in zip(arrays.get(path, ()), getattr(layer, "weights", ()), strict=False):
            if role not in STATISTICS:
                found[name] = variable
    return found


def _put_back(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _variables(owner: Any) -> list[Any]:
    """All variables of a model or an optimizer; tf_keras's legacy optimizers have a method of that name."""
    found = owner.variables
    return [*(found() if callable(found) else found)]


def _names_of(loss: Any, names: Sequence[str] | None, num_outputs: int) -> list[str]:
    """The name of each output's loss."""
    if isinstance(loss, Mapping) and "class_name" not in loss:
        values = [loss[name] for name in (names or loss)]
    else:
        values = [*loss] if isinstance(loss, list | tuple) else [loss] * num_outputs
    if len(values) != num_outputs or any(value is None for value in values):
        raise NotCompared("not every output has a loss")
    return [_name(value) for value in values]


def _name(loss: Any) -> str:
    """The class or the function of a serialized loss."""
    if not isinstance(loss, Mapping):
        return str(loss)
    inside = loss.get("config")
    if loss.get("class_name") == "function":
        return str(inside)
    wrapped = inside.get("fn") if isinstance(inside, Mapping) else None
    return _name(wrapped) if wrapped is not None else str(loss.get("class_name")).rpartition(">")[2]


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _listed(outputs: Any) -> Any:
    return outputs if isinstance(outputs, dict | list | tuple) else [outputs]


def one_or_list(values: Sequence[Any]) -> Any:
    """Returns what a Keras model takes for its inputs or targets: a list where there are several."""
    return values[0] if len(values) == 1 else [*values]
