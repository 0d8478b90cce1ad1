"""What real Keras callbacks decide on given histories: functions to call through ``keras_side``."""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

from keras_floatx import floatx
from metric_sequences import RATE, Sequence, scheduled

Trace = list[tuple[Any, ...]]


class Model:
    """As much of a Keras model as the callbacks touch; its weights are the number of the epoch."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.stop_training = False
        self.weights: list[int] = []
        self.saved: list[str] = []

    @property
    def distribute_strategy(self) -> Any:  # read by tf_keras
        import tensorflow as tf

        return tf.distribute.get_strategy()

    def get_weights(self) -> list[int]:
        return list(self.weights)

    def set_weights(self, weights: list[int]) -> None:
        self.weights = weights

    def save(self, path: str, overwrite: bool = True, **options: Any) -> None:
        self.saved.append(path)


def decisions(library: str, name: str, settings: list[dict[str, Any]], histories: list[Sequence]) -> list[list[Trace]]:
    """Per setting and history, what the callback of ``keras`` or ``tf_keras`` does, epoch for epoch."""
    keras = importlib.import_module(library)
    logging.disable(logging.WARNING)  # how tf_keras says that a metric is missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how Keras 3 does
            return [_of_setting(keras, name, dict(arguments), histories) for arguments in settings]
    finally:
        logging.disable(logging.NOTSET)


def _of_setting(keras: Any, name: str, arguments: dict[str, Any], histories: list[Sequence]) -> list[Trace]:
    with floatx(keras, arguments.pop("floatx", "float32")):
        optimizer = keras.optimizers.SGD(RATE)
        if name == "ModelCheckpoint":
            arguments["filepath"] = "{epoch}.keras"
        return [_trace(getattr(keras.callbacks, name)(**arguments), optimizer, history) for history in histories]


def _trace(callback: Any, optimizer: Any, history: Sequence) -> Trace:
    reduces = type(callback).__name__ == "ReduceLROnPlateau"
    if reduces:
        optimizer.learning_rate = RATE
    model = Model(optimizer)
    callback.set_model(model)
    callback.on_train_begin()
    found: Trace = []
    for epoch, value in enumerate(history):
        model.weights = [epoch]
        logs = {"loss": 1.0} if value is None else {"loss": 1.0, "val_loss": value}
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
        rate = logs.get("learning_rate", logs.get("lr"))  # before the epoch's end, noted by the callback
        found.append((rate, getattr(callback, "wait", None), model.stop_training, len(model.saved)))
        if model.stop_training:
            break
    callback.on_train_end()
    last_rate = [float(optimizer.learning_rate.numpy())] if reduces else []
    return [*found, (*last_rate, *model.weights, *model.saved)]


def scheduled_rates(library: str, schedules: list[tuple[str, list[float]]]) -> list[list[float]]:
    """The rates that a LearningRateScheduler sets, epoch for epoch."""
    keras = importlib.import_module(library)
    optimizer = keras.optimizers.SGD(RATE)
    found = []
    for kind, numbers in schedules:
        optimizer.learning_rate = RATE
        callback = keras.callbacks.LearningRateScheduler(scheduled(kind, numbers))
        callback.set_model(Model(optimizer))
        found.append([])
        for epoch in range(len(numbers)):
            callback.on_epoch_begin(epoch)
            found[-1].append(float(optimizer.learning_rate.numpy()))
    return found


def directions(names: list[str]) -> dict[str, str]:
    """What Keras's ``auto`` makes of metrics in a compiled model, each under its own name."""
    import keras
    import numpy as np

    made = [_metric(kind) for kind in vars(keras.metrics).values() if isinstance(kind, type)]
    metrics = {metric.name: metric for metric in made if metric is not None}
    found = {}
    for name in names:
        image = keras.Input((3,))
        model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(image))
        model.compile("sgd", "mse", metrics=[] if name == "loss" else [metrics.get(name, name)])
        model._compile_metrics.build(np.eye(2), np.eye(2))
        callback = keras.callbacks.EarlyStopping(f"val_{name}")
        callback.set_model(model)
        callback._set_monitor_op()
        found[name] = callback.monitor_op.__name__
    return found


def _metric(kind: Any) -> Any:
    import inspect

    known = {"num_classes": 2, "target_class_ids": [0]}
    parameters = inspect.signature(kind).parameters
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    if {"fn", "kwargs"} & set(required):
        return None
    return kind(**{name: known.get(name, 0.5) for name in required})


def fit(history: list[float]) -> dict[str, Any]:
    """A real ``fit`` whose val_loss is given: its rates, its length, and the epoch whose weights it ends with."""
    import keras
    import numpy as np

    class Told(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = history[epoch]
            self.model.layers[-1].set_weights([np.full((1, 1), epoch, np.float32)])

    image = keras.Input((1,))
    model = keras.Model(image, keras.layers.Dense(1, use_bias=False)(image))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    callbacks = [
        Told(),
        keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=2),
        keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
    ]
    ones = np.ones((1, 1))
    logs = model.fit(ones, ones, epochs=len(history), verbose=0, callbacks=callbacks).history
    return {"rates": logs["learning_rate"], "weight": float(model.layers[-1].get_weights()[0][0, 0])}
