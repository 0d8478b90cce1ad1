"""Gradients where a layer has a kink or inputs are equal, by either Keras: functions to call through ``keras_side``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Case = tuple[str, dict[str, Any], list[np.ndarray]]  # class, arguments, inputs in Keras's layout


def gradients(library: str, cases: Sequence[Case]) -> list[dict[str, Any] | None]:
    """Of the sum of the output times `weights`; None where this Keras has no such layer.

    Returns:
        For each case the ``output``, and ``gradients`` of its inputs and then of the layer's variables, which are 0.3.
    """
    return [_gradients(__import__(library), *case) for case in cases]


def weights(shape: Sequence[int]) -> np.ndarray:
    """What the elements of an output count, all differently."""
    return np.cos(np.arange(np.prod(shape, dtype=int), dtype=np.float64)).reshape(shape)


def _gradients(keras: Any, class_name: str, arguments: dict[str, Any], inputs: list[np.ndarray]) -> Any:
    import tensorflow as tf

    dtype = inputs[0].dtype.name
    try:
        layer = getattr(keras.layers, class_name)(dtype=dtype, **arguments)
    except (AttributeError, TypeError, ValueError):
        return None
    tensors = [tf.constant(x) for x in inputs]
    layer(tensors if len(tensors) > 1 else tensors[0])
    layer.set_weights([np.full(array.shape, 0.3) for array in layer.get_weights()])

    @tf.function  # as `fit` runs it: TensorFlow has other kernels outside of one
    def run(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            output = layer(list(tensors) if len(tensors) > 1 else tensors[0])
            total = tf.reduce_sum(output * tf.constant(weights(output.shape), dtype))
        return output, tape.gradient(total, [*tensors, *layer.trainable_weights])

    output, found = run(*tensors)
    return {"output": np.asarray(output), "gradients": [np.asarray(gradient) for gradient in found]}
