"""A recipe's data: opened, split, in order, in batches; the same for both sides."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weight_transfer.atomic import write_text
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
    own_parts,
    read_order,
    split,
    write_order,
)
from weight_transfer.data.image_set import Indices, Subset
from weight_transfer.description import Description
from weight_transfer.errors import TransferError
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.run_folder import RunFolder, is_first_process

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

    def batches(self, size: tuple[int, int], known: Description) -> tuple[AnyBatches, AnyBatches]:
        """Returns the batches to train on and those to validate on.

        Args:
            size: (H, W) of the network's input.
            known: What is done to the network's images.

        Raises:
            TransferError: The order file does not fit, or one cannot be written.
        """
        recipe = self.recipe
        plain = _preparation(size, known)
        augmented = dataclasses.replace(plain, augment_seed=recipe.seed if recipe.augment else None)
        if isinstance(self.images, ImageStream):
            return _of_stream(self.images, recipe, augmented, plain)
        if self.validation is None:
            learned, validated = split_of(self.images, recipe)
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


@dataclass(frozen=True)
class EvaluationImages:
    """What a network is measured on.

    Attributes:
        batches: Each image once, in order, without augmentation.
        words: Which images these are.
    """

    batches: AnyBatches
    words: str


def evaluation_images(
    recipe: Recipe,
    part: Part | None,
    size: tuple[int, int],
    known: Description,
    cifar10: Cifar10Loader | None = None,
) -> EvaluationImages:
    """Opens the images to measure a network on; ``train`` is what is learned from.

    Data without parts (a folder of classes, shards) that the run of the recipe learned from is split as that run
    split it: of such data there is no test part, and none of the images that were learned from is taken for one.

    Args:
        recipe: Says which data.
        part: Which, or None: the test images, where the data has none the validation images.
        size: (H, W) of the network's input.
        known: What is done to the network's images.
        cifar10: For ``data="cifar10"``.

    Raises:
        TransferError: The data cannot be opened, or there are no such images.
    """
    own = ("train", "test") if _is_downloaded(recipe) else own_parts(recipe.data)
    seen = not own and _learned_from(recipe)
    if seen and part == "test":
        raise TransferError(
            f"{recipe.data}: has no test images, and the run {recipe.output} learned from most of it. Leave --part out "
            "to take the images that it kept apart for validation, or name other images by --data."
        )
    whole = not own and not seen and part in (None, "test")
    if part is None:
        part = "test" if whole or "test" in own or not (seen or "validation" in own) else "validation"
    if part == "test":
        images = _opened(recipe, part, cifar10)
        words = f"all images of {recipe.data}, whether or not training saw them" if whole else "the test images"
        if "validation" in own and "test" not in own:
            words = "the validation images: there are no test images"
        preparation = _preparation(size, known)
        if isinstance(images, ImageStream):
            return EvaluationImages(StreamBatches(images, recipe.batch_size, preparation), words)
        return EvaluationImages(Batches(images, Fixed(_all(images)), recipe.batch_size, preparation), words)
    plain = dataclasses.replace(recipe, order=None, write_order=None, steps=None, augment=False)
    train, validation = training_images(plain, cifar10).batches(size, known)
    if part == "validation":
        why = ", which training did not learn from" if seen else ""
        return EvaluationImages(validation, f"the validation images{why}")
    if isinstance(train, StreamBatches):
        return EvaluationImages(dataclasses.replace(train, seed=None), "the training images")
    in_order = dataclasses.replace(train, order=Fixed(np.sort(train.order(0))))
    return EvaluationImages(in_order, "the training images")


def _learned_from(recipe: Recipe) -> bool:
    """Whether the run in the recipe's folder learned from the recipe's data."""
    folder = RunFolder(Path(recipe.output))
    if not folder.recipe.exists():
        return False
    data = folder.read()[0].data
    return data == recipe.data or os.path.realpath(data) == os.path.realpath(recipe.data)


def split_of(images: ImageSet, recipe: Recipe) -> tuple[Indices, Indices]:
    """Returns which images are learned from, and which are kept apart for validation.

    The split of a folder of files is kept in the run folder, so that neither a file more nor another seed makes a
    network meet an image that it learned from again as one that it did not.

    Args:
        images: All.
        recipe: The seed and the share of a new split, and the run folder that may hold one.

    Raises:
        TransferError: One of the two would be empty, or the split cannot be read or written.
    """
    files: tuple[str, ...] | None = getattr(images, "files", None)
    kept = RunFolder(Path(recipe.output)).split
    names = None if files is None else [os.path.relpath(file, recipe.data) for file in files]
    if names is not None and kept.exists() and _learned_from(recipe):
        return _kept_split(kept, names)
    learned, validated = split(len(images), recipe.split_seed, recipe.validation_share)
    if names is not None and RunFolder(Path(recipe.output)).recipe.exists() and is_first_process():
        parts = {"train": learned, "validation": validated}
        content = {part: [names[index] for index in indices] for part, indices in parts.items()}
        write_text(kept, json.dumps(content, indent=1) + "\n")
    return learned, validated


def _kept_split(path: Path, names: Sequence[str]) -> tuple[Indices, Indices]:
    """The images of a split that are still there, in its order."""
    places = {name: index for index, name in enumerate(names)}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = [[places[name] for name in content[part] if name in places] for part in ("train", "validation")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransferError(f"{path}: not a run's split ({error}). Expected the file that train wrote.") from error
    if not all(found):
        raise TransferError(f"{path}: none of its files is left to learn from or to validate on.")
    learned, validated = (np.array(indices, np.int64) for indices in found)
    return learned, validated


def _is_downloaded(recipe: Recipe) -> bool:
    return recipe.data == DOWNLOADED and not Path(DOWNLOADED).exists()


def _preparation(size: tuple[int, int], known: Description) -> Preparation:
    return Preparation(size, known.preprocessing, loading=known.loading, crop=known.crop)


def _opened(recipe: Recipe, part: Part, cifar10: Cifar10Loader | None) -> ImageSet | ImageStream:
    if _is_downloaded(recipe):
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
