"""The whole network, and its named depths."""

from __future__ import annotations

from typing import Any

import keras

from resnet_keras.head import head as add_head
from resnet_keras.stages import stage as add_stage
from resnet_keras.stem import stem as add_stem
from weight_transfer.architecture import Architecture, Head
from weight_transfer.resnet.dialects import design as draw
from weight_transfer.resnet.dialects import head_for


def resnet(architecture: Architecture) -> keras.Model:
    """Builds the Keras model of an architecture, named ``resnet50`` after its depth."""
    a = architecture
    inputs = keras.Input(a.in_shape, name="input_layer")
    x = add_stem(inputs, a.stem_filters, a.conventions, a.names)
    for position, stage in enumerate(a.stages):
        strides = (1, 1) if position == 0 else (2, 2)  # the stem's pool has halved already
        x = add_stage(
            x,
            a.middle_kernel_size,
            a.filters[position],
            stage,
            a.block_counts[position],
            strides,
            a.block,
            a.conventions,
            a.names,
        )
    x = add_head(x, a.head, a.names)
    return keras.Model(inputs, x, name=f"resnet{a.depth}")


def create_resnet(
    in_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    n_classes: int | None = 10,
    *,
    depth: int = 50,
    dialect: str = "tutorial",
    head: Head | None = None,
    **design: Any,
) -> keras.Model:
    """Builds a ResNet; without further arguments the tutorial's ResNet-50.

    Args:
        in_shape: (H, W, C) of an image; H and W may be None.
        n_classes: Classes of the classifier; None ends with the feature map.
        depth: 18, 34, 50, 101 or 152.
        dialect: Names and conventions, a key of `weight_transfer.DIALECTS`.
        head: What follows the last stage, in place of the dialect's head for ``n_classes``.
        **design: Further arguments of `weight_transfer.design`: ``block``, ``block_counts``,
            ``filters``, ``stem_filters``, ``middle_kernel_size``, and any of the conventions.

    Returns:
        A functional model, (N, H, W, C) to (N, n_classes) probabilities.

    Raises:
        ArchitectureError: No such network exists.

    Example:
        >>> create_resnet((97, 225, 1), n_classes=5, depth=18).name
        'resnet18'
    """
    head = head or head_for(dialect, n_classes)
    return resnet(draw(depth, dialect=dialect, in_shape=in_shape, head=head, **design))


def resnet18(**arguments: Any) -> keras.Model:
    """`create_resnet` with 18 layers in basic blocks."""
    return create_resnet(depth=18, **arguments)


def resnet34(**arguments: Any) -> keras.Model:
    """`create_resnet` with 34 layers in basic blocks."""
    return create_resnet(depth=34, **arguments)


def resnet50(**arguments: Any) -> keras.Model:
    """`create_resnet` with 50 layers in bottlenecks."""
    return create_resnet(depth=50, **arguments)


def resnet101(**arguments: Any) -> keras.Model:
    """`create_resnet` with 101 layers in bottlenecks."""
    return create_resnet(depth=101, **arguments)


def resnet152(**arguments: Any) -> keras.Model:
    """`create_resnet` with 152 layers in bottlenecks."""
    return create_resnet(depth=152, **arguments)
