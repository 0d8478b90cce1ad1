"""Steps that real Keras optimizers take on given gradients: functions to call through ``keras_side``."""

from __future__ import annotations

import itertools
import re
import warnings
from typing import Any

import keras_floatx
import numpy as np

# tf_keras's names of the slots that Keras 3 names otherwise.
TF_KERAS_SLOTS = {"m": "momentum", "v": "velocity", "vhat": "velocity_hat", "u": "norm"}
Gradients = list[list[np.ndarray | None]]


def keras3(
    name: str,
    arguments: dict[str, Any],
    weights: list[np.ndarray],
    gradients: Gradients,
    *,
    floatx: str = "float32",
    exclude: list[str] | None = None,
    graph: bool = False,
) -> dict[str, Any]:
    """Takes one step of Keras 3 per list of gradients.

    Args:
        name: Class of the optimizer.
        arguments: Its arguments; a ``learning_rate`` may be a schedule's (class, arguments).
        weights: What the variables start from; their dtype is the variables'.
        gradients: Per step, one per variable, None for none.
        floatx: Keras's setting, which is the dtype of the learning rate.
        exclude: Names to exclude from weight decay.
        graph: Whether a step runs as one graph, as in ``fit``.

    Returns:
        ``weights`` and ``slots`` (of each name, one array per variable) after each step, ``config``
        and ``finalized``, the weights when training ends.
    """
    import keras
    import tensorflow as tf

    with keras_floatx.floatx(keras, floatx):
        variables = [keras.Variable(value, dtype=value.dtype.name, name=f"w{i}") for i, value in enumerate(weights)]
        optimizer = getattr(keras.optimizers, name)(**_with_schedule(arguments, keras.optimizers.schedules))
        if exclude:
            optimizer.exclude_from_weight_decay(var_names=exclude)
        optimizer.build(variables)
        apply = lambda step: optimizer.apply(step, variables)  # noqa: E731
        found = _run(
            tf.function(apply) if graph else apply,
            variables,
            gradients,
            lambda: _slots(optimizer.variables, r"w(\d+)_(\w+)", {}),
        )
        config = keras.optimizers.serialize(optimizer)
        optimizer.finalize_variable_values(variables)
        return {**found, "config": config, "finalized": [variable.numpy() for variable in variables]}


def tf_keras(
    name: str, arguments: dict[str, Any], weights: list[np.ndarray], gradients: Gradients, *, legacy: bool = False
) -> dict[str, Any]:
    """Takes one step of tf_keras per list of gradients: the same as `keras3`; of a legacy class, no slots."""
    import tensorflow as tf
    import tf_keras

    variables = [tf.Variable(value, name=f"w{i}") for i, value in enumerate(weights)]
    module = tf_keras.optimizers.legacy if legacy else tf_keras.optimizers
    arguments = _with_schedule(arguments, tf_keras.optimizers.schedules)
    optimizer = getattr(module, name)(**arguments, **({} if legacy else {"jit_compile": False}))
    found = _run(
        lambda step: optimizer.apply_gradients([(g, v) for g, v in zip(step, variables, strict=True) if g is not None]),
        variables,
        gradients,
        lambda: {} if legacy else _slots(optimizer.variables, r"(\w+)/w(\d+)", TF_KERAS_SLOTS),
    )
    found["config"] = _plain(tf_keras.optimizers.serialize(optimizer, use_legacy_format=True))
    if not legacy:
        optimizer.finalize_variable_values(variables)
        found["finalized"] = [variable.numpy() for variable in variables]
    return found


def schedule(name: str, arguments: dict[str, Any], steps: list[int], library: str, graph: bool) -> list[float]:
    """What a schedule of ``keras`` or ``tf_keras`` gives, called directly or in a graph."""
    import importlib

    import tensorflow as tf

    rate = getattr(importlib.import_module(library).optimizers.schedules, name)(**arguments)
    step = tf.Variable(0, dtype=tf.int64)
    function = tf.function(lambda: rate(step)) if graph else lambda: rate(step)
    rates = []
    for now in steps:
        step.assign(now)
        rates.append(float(function()))
    return rates


def rates_in_fit(name: str, arguments: dict[str, Any], num_steps: int) -> list[float]:
    """The rates with which ``fit`` trains: the steps of a float64 weight whose gradient is 1."""
    import keras

    values = [0.0]
    image = keras.Input((1,), dtype="float64")
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype="float64")
    model = keras.Model(image, dense(image))
    rate = getattr(keras.optimizers.schedules, name)(**arguments)
    model.compile(keras.optimizers.SGD(rate), loss=lambda _, y: y)
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: values.append(float(dense.kernel.numpy()[0, 0]))
    )
    ones = np.ones((num_steps, 1))
    model.fit(ones, ones, batch_size=1, shuffle=False, verbose=0, callbacks=[note])
    return [float(np.float32(before - after)) for before, after in itertools.pairwise(values)]


def cast(value: float) -> float:
    """What Keras makes of a Python float that it casts to float64."""
    import keras

    return float(keras.ops.cast(value, "float64"))


def signatures(library: str, module: str) -> dict[str, dict[str, Any]]:
    """Arguments and defaults of the classes in a module of a Keras: what a script may write.

    Args:
        library: ``keras`` or ``tf_keras``.
        module: ``optimizers``, ``optimizers.schedules`` or ``optimizers.legacy``.
    """
    import importlib
    import inspect

    found = {}
    for name, kind in vars(importlib.import_module(f"{library}.{module}")).items():
        if inspect.isclass(kind):
            arguments = inspect.signature(kind).parameters.values()
            found[name] = {one.name: one.default for one in arguments if one.kind is one.POSITIONAL_OR_KEYWORD}
    return found


def slots_kept(library: str, specs: list[Any]) -> list[list[str]]:
    """The slots that each optimizer keeps for one weight, as `resnet_keras.optimizers` finds them."""
    import importlib

    import tensorflow as tf

    from resnet_keras.optimizers import build_optimizer, slots_of

    module = importlib.import_module(library)
    found = []
    for spec in specs:
        variables = [(module.Variable if library == "keras" else tf.Variable)(np.ones(3, "float32"))]
        optimizer = build_optimizer(module, spec)
        optimizer.build(variables)
        found.append(list(slots_of(optimizer, 1)))
    return found


def serialized(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A Keras 3 optimizer's config, as a file holds it."""
    import json

    import keras

    made = getattr(keras.optimizers, name)(**_with_schedule(arguments, keras.optimizers.schedules))
    return json.loads(json.dumps(keras.optimizers.serialize(made)))


def _with_schedule(arguments: dict[str, Any], schedules: Any) -> dict[str, Any]:
    rate = arguments.get("learning_rate")
    if isinstance(rate, tuple):
        return {**arguments, "learning_rate": getattr(schedules, rate[0])(**rate[1])}
    return arguments


def _run(apply: Any, variables: list[Any], gradients: Gradients, slots: Any) -> dict[str, Any]:
    import tensorflow as tf

    weights, kept = [], []
    for step in gradients:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Gradients do not exist for variables"
            apply([None if g is None else tf.constant(g) for g in step])
        weights.append([variable.numpy() for variable in variables])
        kept.append(slots())
    return {"weights": weights, "slots": {name: [now[name] for now in kept] for name in kept[0]}}


def _slots(variables: list[Any], pattern: str, renamed: dict[str, str]) -> dict[str, list[np.ndarray]]:
    """Arrays of each slot, in the order of the model's variables."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for variable in variables:
        match = re.search(pattern, variable.name)
        if match:
            index, slot = sorted(match.groups(), key=str.isdigit, reverse=True)
            found.setdefault(renamed.get(slot, slot), {})[int(index)] = variable.numpy()
    return {slot: [arrays[i] for i in sorted(arrays)] for slot, arrays in found.items()}


def _plain(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _plain(value) for key, value in config.items()}
    return config.item() if isinstance(config, np.generic) else config
