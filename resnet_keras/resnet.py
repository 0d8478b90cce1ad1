"""The whole network, and its named depths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from resnet_keras.head import head as add_head
from resnet_keras.stages import stage as add_stage
from resnet_keras.stem import stem as add_stem
from weight_transfer.architecture import Architecture, Head
from weight_transfer.resnet.dialects import IMAGENET_CLASSES, ResNetOptions, design, head_for, published_resnet

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on


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
    **options: Unpack[ResNetOptions],
) -> keras.Model:
    """Builds a ResNet; without further arguments the tutorial's ResNet-50.

    Args:
        in_shape: (H, W, C) of an image; H and W may be None.
        n_classes: Classes of the classifier; None ends with the feature map.
        depth: 18, 34, 50, 101 or 152.
        dialect: Names and conventions, a key of `weight_transfer.DIALECTS`.
        head: What follows the last stage, in place of the dialect's head for ``n_classes``.
        **options: Further arguments of `weight_transfer.design`: ``block``, ``block_counts``,
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
    return resnet(design(depth, dialect=dialect, in_shape=in_shape, head=head, **options))


def resnet18(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    **options: Unpack[ResNetOptions],
) -> keras.Model:
    """Builds ResNet-18 by keras.applications' names and conventions; the arguments are those of `resnet50`."""
    return resnet(published_resnet(18, num_classes, in_chans, input_size, dialect, **options))


def resnet34(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    **options: Unpack[ResNetOptions],
) -> keras.Model:
    """Builds ResNet-34 by keras.applications' names and conventions; the arguments are those of `resnet50`."""
    return resnet(published_resnet(34, num_classes, in_chans, input_size, dialect, **options))


def resnet50(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    **options: Unpack[ResNetOptions],
) -> keras.Model:
    """Builds ResNet-50 anew, as keras.applications publishes it: its layer names, one Dense of 1000 classes.

    Args:
        num_classes: Outputs of the classifier; 0 ends with the pooled features, None with the last feature map.
        in_chans: Channels of an image.
        input_size: (C, H, W) of an image, of which H and W may be None; by default ``in_chans`` x 224 x 224.
        dialect: Names and conventions, a key of `weight_transfer.DIALECTS`.
        **options: As for `create_resnet`.

    Returns:
        A functional model, (N, H, W, C) to (N, num_classes) probabilities.

    Raises:
        ArchitectureError: No such network exists.
    """
    return resnet(published_resnet(50, num_classes, in_chans, input_size, dialect, **options))


def resnet101(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    **options: Unpack[ResNetOptions],
) -> keras.Model:
    """Builds ResNet-101; the arguments are those of `resnet50`."""
    return resnet(published_resnet(101, num_classes, in_chans, input_size, dialect, **options))


def resnet152(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    **options: Unpack[ResNetOptions],
) -> keras.Model:
    """Builds ResNet-152; the arguments are those of `resnet50`."""
    return resnet(published_resnet(152, num_classes, in_chans, input_size, dialect, **options))
