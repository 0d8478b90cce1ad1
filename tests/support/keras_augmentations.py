"""What random augmentation of either Keras does in training: functions to call through ``keras_side``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

Case = tuple[str, dict[str, Any]]  # class and arguments


def trained(library: str, cases: Sequence[Case], images: np.ndarray, calls: int) -> list[dict[str, Any]]:
    """Calls each layer in training, on the same images again and again.

    Returns:
        For each case the layer's ``config`` and ``outputs``, (calls, N, H, W, C).
    """
    keras = __import__(library)
    keras.utils.set_random_seed(0)
    return [_trained(keras, case, images, calls) for case in cases]


def _trained(keras: Any, case: Case, images: np.ndarray, calls: int) -> dict[str, Any]:
    layer = getattr(keras.layers, case[0])(**case[1])
    outputs = np.stack([np.asarray(layer(images, training=True)) for _ in range(calls)])
    at_inference = np.asarray(layer(images, training=False))
    config = json.loads(json.dumps(layer.get_config(), default=list))
    return {"config": config, "outputs": outputs, "at_inference": at_inference}


def warped(matrices: np.ndarray, images: np.ndarray, fills: Sequence[tuple[str, float, str]]) -> list[np.ndarray]:
    """What both Kerases' affine layers call, with given matrices (N, 8), for each way to fill and interpolate."""
    import tensorflow as tf

    return [
        tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            output_shape=images.shape[1:3],
            fill_value=value,
            transforms=matrices,
            fill_mode=mode.upper(),
            interpolation=interpolation.upper(),
        ).numpy()
        for mode, value, interpolation in fills
    ]


def transformed(case: Case, drawn: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """What Keras 3's layer makes of images with given draws."""
    import keras

    layer = getattr(keras.layers, case[0])(**case[1])
    height, width = images.shape[1:3]
    if case[0] == "RandomRotation":
        zeros, ones = np.zeros(len(images), "float32"), np.ones(len(images), "float32")
        still = {"translate_x": zeros, "translate_y": zeros, "scale": ones, "shear_x": zeros, "shear_y": zeros}
        angle = keras.ops.convert_to_tensor(np.rad2deg(drawn.pop("angle")).astype("float32"))
        drawn["rotation_matrix"] = layer._compute_affine_matrix(
            center_x=0.5, center_y=0.5, angle=angle, height=height, width=width, **still
        )
    return np.asarray(layer.transform_images(images, drawn, training=True))
