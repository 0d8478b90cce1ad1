"""Values and gradients of real Keras losses: functions to call through ``keras_side``."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
from keras_floatx import floatx

Case = dict[str, Any]


def values(library: str, cases: list[Case]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each case the loss, and the gradient of its sum with respect to the logits, in float64.

    A case is ``name`` and ``arguments`` of the loss, ``logits``, ``target`` and perhaps ``sample_weight``,
    ``class_weight`` and ``activation``, what the model ends with.
    """
    keras = importlib.import_module(library)
    with floatx(keras, "float64"):
        return [_value(keras, case) for case in cases]


def _value(keras: Any, case: Case) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow as tf

    loss = getattr(keras.losses, case["name"])(**case["arguments"])
    weight = case.get("sample_weight")
    if "class_weight" in case:
        from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

        weight = class_weight_to_sample_weights(case["target"], case["class_weight"])

    def computed(logits: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            outputs = logits if case.get("activation") is None else keras.activations.get(case["activation"])(logits)
            found = loss(case["target"], outputs, sample_weight=weight)
        return found, tape.gradient(found, logits)

    if case.get("activation") is not None:  # as in fit, where TensorFlow goes back from a softmax to its logits
        computed = tf.function(computed)
    found, gradient = computed(tf.constant(case["logits"]))
    return found.numpy(), gradient.numpy()


def compiled(library: str, losses: list[tuple[Any, ...]], folder: str) -> list[dict[str, Any]]:
    """Models compiled and saved, and the loss of a batch that each computes.

    Args:
        library: ``keras`` or ``tf_keras``.
        losses: Of each model (loss as compile takes it or class and arguments, loss_weights, activations).
        folder: Where to.
    """
    keras = importlib.import_module(library)
    found = []
    for number, (loss, weights, activations) in enumerate(losses):
        made = [_made(keras, one) for one in loss] if isinstance(loss, list) else _made(keras, loss)
        random = np.random.default_rng(number)
        image = keras.Input((8, 8, 3), name="image")
        pooled = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Conv2D(4, 3, name="conv")(image))
        outputs = [
            keras.layers.Dense(3, activation=activation, name=f"out{i}")(pooled)
            for i, activation in enumerate(activations)
        ]
        model = keras.Model(image, outputs if len(outputs) > 1 else outputs[0])
        model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
        model.compile("sgd", made, loss_weights=weights, run_eagerly=number > 2)
        x = random.normal(size=(5, 8, 8, 3)).astype("float32")
        sparse = "sparse" in json.dumps(loss).lower()
        y = np.array([0, 2, 1, 1, 0]) if sparse else np.eye(3, dtype="float32")[[0, 2, 1, 1, 0]]
        path = f"{folder}/{library}-{number}.{'h5' if number % 2 else 'keras'}"
        value = model.evaluate(x, [y] * len(outputs) if len(outputs) > 1 else y, batch_size=5, verbose=0)
        model.save(path)
        found.append({"path": path, "x": x, "y": y, "value": float(np.ravel(value)[0])})
    return found


def _made(keras: Any, loss: Any) -> Any:
    return getattr(keras.losses, loss[0])(**loss[1]) if isinstance(loss, tuple) else loss


def epoch_loss(losses: list[float], sizes: list[int]) -> float:
    """What Keras's loss tracker makes of the losses of batches."""
    import keras
    import tensorflow as tf

    tracker = keras.metrics.Mean(name="loss")
    for loss, size in zip(losses, sizes, strict=True):
        tracker.update_state(tf.constant(loss, tf.float32), sample_weight=size)
    return float(tracker.result())
