"""ResNets under heads of people's own: functions to call through ``keras_side``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {
    "in_shape": (33, 33, 3),
    "n_classes": None,
    "stem_filters": 4,
    "block_counts": (2, 1),
    "filters": ((4, 4, 8), (6, 6, 12)),
    "dialect": "keras-applications",
}
HEADS = ("flatten, two outputs", "nested, pooled", "own names", "from the middle")


def headed(path: Path, head: str) -> Path:
    """Saves a seeded small ResNet with one of `HEADS`."""
    import keras
    from keras import layers

    from resnet_keras import create_resnet
    from resnet_keras.random_weights import seed_weights

    keras.backend.clear_session()
    backbone = create_resnet(**SMALL)
    image = keras.Input((33, 33, 3)) if head == "nested, pooled" else backbone.input
    x = backbone(image) if head == "nested, pooled" else backbone.output
    if head == "flatten, two outputs":
        x = layers.Dense(7, activation="relu")(layers.Flatten()(x))
        outputs: Any = [layers.Dense(3, activation="softmax")(x), layers.Dense(1, activation="sigmoid")(x)]
    elif head == "nested, pooled":
        outputs = layers.Dense(3)(layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x)))
    elif head == "own names":
        outputs = layers.Dense(3, activation="softmax", name="my.head")(layers.GlobalMaxPooling2D()(x))
    else:
        middle = backbone.get_layer("conv2_block2_out").output
        x = layers.Concatenate()([layers.GlobalAveragePooling2D()(middle), layers.GlobalAveragePooling2D()(x)])
        outputs = layers.Dense(3, activation="softmax")(x)
    seed_weights(keras.Model(image, outputs)).save(path)
    return path
