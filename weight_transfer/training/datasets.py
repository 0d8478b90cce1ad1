"""A recipe's data: opened, split, in order, in batches; the same for both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weight_transfer.data import (
    ArrayImages,
    Batches,
    Fixed,
    ImageSet,
    ImageStream,
    Order,
    Part,
    Preparation,
    Shuffled,
    open_images,
    read_order,
    split,
    write_order,
)
from weight_transfer.data.image_set import Indices, Subset
from weight_transfer.errors import TransferError
from weight_transfer.training.recipe import Recipe

# The framework's own loader of CIFAR-10, which downloads: a part to its images.
Cifar10Loader = Callable[[Part], ArrayImages]


@dataclass(frozen=True)
class TrainingImages:
    """Opened data of a training.

    Attributes:
        recipe: Of the training.
        images: What is learned from.
        validation: What is validated on, where the data has such a part; else some of ``images``.
    """

    recipe: Recipe
    images: ImageSet
    validation: ImageSet | None

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.images.class_names

    def indices(self) -> tuple[Indices, Indices]:
        """Returns which images are learned from, and which are validated on."""
        if self.validation is not None:
            import numpy as np

            return np.arange(len(self.images)), np.arange(len(self.validation))
        return split(len(self.images), self.recipe.split_seed, self.recipe.validation_share)

    def batches(self, size: tuple[int, int]) -> tuple[Batches, Batches]:
        """Returns the batches to train on and those to validate on.

        Args:
            size: (H, W) of the network's input.

        Raises:
            TransferError: The order file does not fit, or one cannot be written.
        """
        recipe = self.recipe
        learned, validated = self.indices()
        augment_seed = recipe.seed if recipe.augment else None
        preparation = Preparation(size, recipe.preprocessing, augment_seed)
        train = Batches(self.images, _order(recipe, learned), recipe.batch_size, preparation, recipe.steps)
        plain = dataclasses.replace(preparation, augment_seed=None)
        images = self.images if self.validation is None else self.validation
        return train, Batches(images, Fixed(validated), recipe.batch_size, plain)


def training_images(recipe: Recipe, cifar10: Cifar10Loader | None = None) -> TrainingImages:
    """Opens a recipe's training data.

    Args:
        recipe: Says what.
        cifar10: For ``data="cifar10"``.

    Raises:
        TransferError: The data cannot be opened.
    """
    images = _limited(_opened(recipe, "train", cifar10), recipe)
    return TrainingImages(recipe, images, None)


def evaluation_batches(
    recipe: Recipe, part: Part, size: tuple[int, int], cifar10: Cifar10Loader | None = None
) -> Batches:
    """Returns the batches of a part, in order, without augmentation; ``train`` is what is learned from.

    Raises:
        TransferError: The data cannot be opened.
    """
    preparation = Preparation(size, recipe.preprocessing)
    if part != "test":
        train, validation = training_images(recipe, cifar10).batches(size)
        chosen = train if part == "train" else validation
        order = Fixed(chosen.order(0))
        return Batches(chosen.images, order, recipe.batch_size, preparation)
    images = _limited(_opened(recipe, "test", cifar10), recipe)
    import numpy as np

    return Batches(images, Fixed(np.arange(len(images))), recipe.batch_size, preparation)


def _opened(recipe: Recipe, part: Part, cifar10: Cifar10Loader | None) -> ImageSet:
    if recipe.data == "cifar10" and not Path("cifar10").exists():
        if cifar10 is None:
            raise TransferError("cifar10 is downloaded by a framework. Name a file or a folder instead.")
        return cifar10(part)
    images = open_images(recipe.data, part, recipe.classes)
    if isinstance(images, ImageStream):
        raise TransferError(f"{recipe.data}: a stream of shards, which cannot be trained on yet.")
    return images


def _limited(images: ImageSet, recipe: Recipe) -> ImageSet:
    return images if recipe.images is None else Subset(images, recipe.images)


def _order(recipe: Recipe, indices: Indices) -> Order:
    if recipe.order is not None:
        return read_order(Path(recipe.order), indices, recipe.epochs)
    order = Shuffled(indices, recipe.seed)
    if recipe.write_order is not None:
        write_order(Path(recipe.write_order), order, recipe.epochs)
    return order
