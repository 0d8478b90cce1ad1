"""Layers of either Keras in float64 and float32, with and without `resnet_keras.cpu_kernels`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Both = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """Attributes:
    class_name: Of the layer.
    shape: Of the input, channels last, without the batch.
    arguments: Of the layer.
    """

    class_name: str
    shape: tuple[int, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Computed:
    """Attributes:
    replaced: Whether another computation stands in the place of the layer's own.
    result: Output and gradient by the input, channels last; what Keras raised in their place.
    """

    replaced: bool
    result: Both | str


def computed(
    family: str, case: Case, dtype: str, *, first: bool = False, own: bool = False, training: bool = False
) -> Computed:
    """Runs one layer on integers, and weighs its output for a gradient.

    Args:
        family: ``keras`` or ``tf_keras``.
        case: The layer.
        dtype: To compute in.
        first: Whether the channels come first.
        own: Whether by its own kernel, whatever stands in its place.
        training: Whether inside a function that is compiled as a whole, as a step of training is.
    """
    import keras
    import tensorflow as tf
    import tf_keras

    from resnet_keras.cpu_kernels import replacement

    module = {"keras": keras, "tf_keras": tf_keras}[family]
    random = np.random.default_rng(0)
    x = random.integers(-3, 4, (2, *case.shape)).astype(dtype)
    options = {"data_format": "channels_first"} if first else {}
    layer = getattr(module.layers, case.class_name)(dtype=dtype, **case.arguments, **options)
    by_other_means = replacement(module, layer, dtype)
    if by_other_means is not None and not own:
        layer.call = by_other_means
    given = tf.constant(np.moveaxis(x, -1, 1) if first else x)

    def step(given: Any, weights: Any = None) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = layer(given)
            loss = tf.reduce_sum(y * tf.constant(1.0, dtype) if weights is None else y * weights)
        return y, tape.gradient(loss, given)

    try:
        y, _ = step(given)
        layer.set_weights([random.integers(-3, 4, array.shape) for array in layer.get_weights()])
        last = np.moveaxis(y.numpy(), 1, -1) if first else y.numpy()
        weights = np.random.default_rng(1).integers(-3, 4, last.shape).astype(last.dtype)
        weights = tf.constant(np.moveaxis(weights, -1, 1) if first else weights)
        y, gradient = (tf.function(step, autograph=False) if training else step)(given, weights)
    except (tf.errors.OpError, ValueError) as error:
        return Computed(by_other_means is not None, str(error))
    both = (y.numpy(), tf.convert_to_tensor(gradient).numpy())
    moved = tuple(np.moveaxis(array, 1, -1) if first else array for array in both)
    return Computed(by_other_means is not None, (moved[0], moved[1]))


def all_computed(family: str, cases: list[Case], dtype: str, **how: bool) -> list[Computed]:
    """`computed` of many."""
    return [computed(family, case, dtype, **how) for case in cases]
