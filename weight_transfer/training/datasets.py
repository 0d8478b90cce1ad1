"""A recipe's data: opened, split, in order, in batches; the same for both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weight_transfer.data import (
    ArrayImages,
    Batches,
    Fixed,
    ImageSet,
    ImageStream,
    KeySplit,
    Order,
    Part,
    Preparation,
    Shuffled,
    StreamBatches,
    has_validation,
    open_images,
    read_order,
    split,
    write_order,
)
from weight_transfer.data.image_set import Indices, Subset
from weight_transfer.errors import TransferError
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.run_folder import is_first_process

# The framework's own loader of CIFAR-10, which downloads: a part to its images.
Cifar10Loader = Callable[[Part], ArrayImages]
AnyBatches = Batches | StreamBatches
DOWNLOADED = "cifar10"


@dataclass(frozen=True)
class TrainingImages:
    """Opened data of a training.

    Attributes:
        recipe: Of the training.
        images: What is learned from.
        validation: What is validated on, where the data has such a part; else some of ``images`` are.
    """

    recipe: Recipe
    images: ImageSet | ImageStream
    validation: ImageSet | None

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.images.class_names

    def batches(self, size: tuple[int, int]) -> tuple[AnyBatches, AnyBatches]:
        """Returns the batches to train on and those to validate on.

        Args:
            size: (H, W) of the network's input.

        Raises:
            TransferError: The order file does not fit, or one cannot be written.
        """
        recipe = self.recipe
        plain = Preparation(size, recipe.preprocessing)
        augmented = dataclasses.replace(plain, augment_seed=recipe.seed if recipe.augment else None)
        if isinstance(self.images, ImageStream):
            return _of_stream(self.images, recipe, augmented, plain)
        if self.validation is None:
            learned, validated = split(len(self.images), recipe.split_seed, recipe.validation_share)
            validation: ImageSet = self.images
        else:
            learned, validated, validation = _all(self.images), _all(self.validation), self.validation
        order = _order(recipe, learned)
        train = Batches(self.images, order, recipe.batch_size, augmented, recipe.steps)
        return train, Batches(validation, Fixed(validated), recipe.batch_size, plain)


def training_images(recipe: Recipe, cifar10: Cifar10Loader | None = None) -> TrainingImages:
    """Opens a recipe's training data.

    Args:
        recipe: Says what.
        cifar10: For ``data="cifar10"``.

    Raises:
        TransferError: The data cannot be opened.
    """
    images = _opened(recipe, "train", cifar10)
    if not has_validation(recipe.data):
        return TrainingImages(recipe, images, None)
    validation = _opened(recipe, "validation", cifar10)
    return TrainingImages(recipe, images, None if isinstance(validation, ImageStream) else validation)


def evaluation_batches(
    recipe: Recipe, part: Part, size: tuple[int, int], cifar10: Cifar10Loader | None = None
) -> AnyBatches:
    """Returns the batches of a part once, in order, without augmentation; ``train`` is what is learned from.

    Raises:
        TransferError: The data cannot be opened.
    """
    preparation = Preparation(size, recipe.preprocessing)
    if part == "test":
        images = _opened(recipe, part, cifar10)
        if isinstance(images, ImageStream):
            return StreamBatches(images, recipe.batch_size, preparation)
        return Batches(images, Fixed(_all(images)), recipe.batch_size, preparation)
    plain = dataclasses.replace(recipe, order=None, write_order=None, steps=None, augment=False)
    train, validation = training_images(plain, cifar10).batches(size)
    if part == "validation":
        return validation
    if isinstance(train, StreamBatches):
        return dataclasses.replace(train, seed=None)
    return dataclasses.replace(train, order=Fixed(np.sort(train.order(0))))


def _opened(recipe: Recipe, part: Part, cifar10: Cifar10Loader | None) -> ImageSet | ImageStream:
    if recipe.data == DOWNLOADED and not Path(DOWNLOADED).exists():
        if cifar10 is None:
            raise TransferError("cifar10 is downloaded by a framework. Name a file or a folder instead.")
        images: ImageSet | ImageStream = cifar10(part)
    else:
        images = open_images(recipe.data, part, recipe.classes)
    if recipe.images is None:
        return images
    if isinstance(images, ImageStream):
        raise TransferError("shards are read as a stream, of which --images takes no part. Use --steps.")
    return Subset(images, recipe.images)


def _all(images: ImageSet) -> Indices:
    return np.arange(len(images))


def _order(recipe: Recipe, indices: Indices) -> Order:
    if recipe.order is not None:
        return read_order(Path(recipe.order), indices, recipe.epochs)
    order = Shuffled(indices, recipe.seed)
    if recipe.write_order is not None and is_first_process():
        write_order(Path(recipe.write_order), order, recipe.epochs)
    return order


def _of_stream(
    stream: ImageStream, recipe: Recipe, augmented: Preparation, plain: Preparation
) -> tuple[StreamBatches, StreamBatches]:
    if recipe.order is not None or recipe.write_order is not None:
        raise TransferError("shards have their own order, drawn from --seed: an order file has no place there.")
    learned, validated = (
        KeySplit(recipe.split_seed, recipe.validation_share, part) for part in ("train", "validation")
    )
    return (
        StreamBatches(stream, recipe.batch_size, augmented, recipe.seed, learned, recipe.steps),
        StreamBatches(stream, recipe.batch_size, plain, None, validated),
    )
