"""The head: what follows the last stage."""

from __future__ import annotations

import keras
from keras import layers

from weight_transfer.architecture import Head, Names
from weight_transfer.resnet.dialects import TUTORIAL


def head(x: keras.KerasTensor, head: Head = TUTORIAL.head, names: Names = TUTORIAL.names) -> keras.KerasTensor:
    """Global pooling and the classifier, as far as the description has them.

    Args:
        x: Feature map, (N, H, W, C).
        head: Pooling, hidden layer, classes, dropout, activation.
        names: Layer names.

    Returns:
        (N, classes), or (N, C) without a classifier, or ``x`` without pooling.
    """
    if head.pooling is None:
        return x
    pool = layers.GlobalAveragePooling2D if head.pooling == "avg" else layers.GlobalMaxPooling2D
    x = pool(name=names.global_pool)(x)
    if head.classes is None:
        return x
    number = 1
    if head.hidden_units is not None:
        x = _dropout(x, head.dropout, number)
        x = layers.Dense(head.hidden_units, activation="relu", name=names.hidden)(x)
        number += 1
    x = _dropout(x, head.dropout, number)
    return layers.Dense(head.classes, activation=head.activation, name=names.classifier)(x)


def _dropout(x: keras.KerasTensor, rate: float, number: int) -> keras.KerasTensor:
    return layers.Dropout(rate, name=f"dropout_{number:02d}")(x) if rate else x
