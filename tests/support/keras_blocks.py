"""The Keras twin's blocks on their own: functions to call through ``keras_side``."""

from __future__ import annotations

import numpy as np


def with_residual_scaled(kind: str, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A block whose F is scaled through its last gamma: input, output, and the output's sum's gradient."""
    import keras
    import tensorflow as tf

    from resnet_keras.blocks import basic_identity_block, identity_block

    keras.backend.clear_session()
    image = keras.Input((6, 6, 16))
    build, filters = {"bottleneck": (identity_block, (4, 4, 16)), "basic": (basic_identity_block, (16, 16))}[kind]
    block = keras.Model(image, build(image, 3, filters, 2, "b"))
    (*_, last) = (layer for layer in block.layers if isinstance(layer, keras.layers.BatchNormalization))
    last.gamma.assign(np.full(16, strength, "float32"))
    x = tf.constant(np.random.default_rng(0).random((2, 6, 6, 16), "float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = block(x, training=True)
    return x.numpy(), y.numpy(), tape.gradient(y, x).numpy()
