"""Telling what a person's ``--data`` is, and opening it."""

from __future__ import annotations

from pathlib import Path

from weight_transfer.data import npz
from weight_transfer.data.cifar10 import find_folder, is_archive, open_cifar10
from weight_transfer.data.folders import has_parts, open_folder, part_folder
from weight_transfer.data.image_set import PARTS, ImageSet, ImageStream, Part
from weight_transfer.data.shards import open_shards
from weight_transfer.errors import TransferError

EXPECTED = (
    "CIFAR-10's archive or its folder, an .npz file, a tree with a folder for each class, "
    "or WebDataset shards such as 'shards-{000..009}.tar'"
)


def open_images(source: str, part: Part, classes: int | None = None) -> ImageSet | ImageStream:
    """Opens one part of a data set.

    Args:
        source: A path, a pattern of shards, or the URL of one.
        part: Which.
        classes: How many, where the data does not say: shards.

    Raises:
        TransferError: It does not exist, is nothing known, or has no such part.

    Example:
        >>> images = open_images("cifar-10-python.tar.gz", "train")
        >>> images.image(0, "opencv").shape, images.class_names[images.labels[0]]
        ((32, 32, 3), 'frog')
    """
    path = Path(source)
    if is_shards(source):
        return open_shards(source, classes)
    if not path.exists():
        raise TransferError(f"{source}: does not exist. Expected {EXPECTED}.")
    if path.suffix == ".npz":
        return npz.open_npz(path, part)
    if is_archive(path) or (path.is_dir() and find_folder(path) is not None):
        return open_cifar10(path, part)
    if path.is_dir():
        packed = next((file for file in sorted(path.iterdir()) if is_archive(file)), None)
        return open_folder(path, part) if packed is None else open_cifar10(packed, part)
    raise TransferError(f"{source}: not data of a known kind. Expected {EXPECTED}.")


def own_parts(source: str) -> tuple[Part, ...]:
    """Returns the parts that a data set keeps apart; none of shards or a folder of classes, all of a piece."""
    path = Path(source)
    if is_shards(source) or not path.exists():
        return ()
    if path.suffix == ".npz":
        return tuple(part for part in PARTS if npz.has_part(path, part))
    if path.is_dir() and find_folder(path) is None and not any(map(is_archive, path.iterdir())):
        return tuple(part for part in PARTS if part_folder(path, part) is not None) if has_parts(path) else ()
    return ("train", "test")


def has_validation(source: str) -> bool:
    """Whether a data set has a validation part of its own."""
    return "validation" in own_parts(source)


def is_shards(source: str) -> bool:
    """Whether this names shards: a URL, a pattern in braces, a ``.tar``, or a folder of them."""
    path = Path(source)
    if is_archive(path):
        return False
    return "://" in source or "{" in source or path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar")))
