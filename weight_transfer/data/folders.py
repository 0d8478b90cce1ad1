"""A tree with a folder for each class, as ImageFolder and image_dataset_from_directory read it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weight_transfer.data.image_set import Labels, Part, Pixels
from weight_transfer.errors import TransferError
from weight_transfer.images import ImageLoading, load_image
from weight_transfer.images.files import SUFFIXES

# What the folder of a part is called, in the order in which they are looked for.
PART_FOLDERS: Mapping[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class FolderImages:
    """Image files, by class.

    Attributes:
        files: In the order of the classes, then of their paths.
        labels: (N,).
        class_names: Names of the folders, sorted.
    """

    files: tuple[str, ...]
    labels: Labels
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int, loading: ImageLoading) -> Pixels:
        """Returns (H, W, 3).

        Raises:
            ImageError: The file is no readable image.
        """
        pixels: Pixels = load_image(self.files[index], None, loading)
        return pixels


def part_folder(root: Path, part: Part) -> Path | None:
    """The folder of a part in a tree that has parts; None where the tree lacks it."""
    return next((root / name for name in PART_FOLDERS[part] if (root / name).is_dir()), None)


def has_parts(root: Path) -> bool:
    """Whether a tree has parts, rather than classes at once."""
    return part_folder(root, "train") is not None


def open_folder(root: Path, part: Part) -> FolderImages:
    """Lists the images of one part.

    Args:
        root: With folders ``train``, ``val``, ``test``; a tree without ``train`` is one part, whichever is asked for.
        part: Which; where there is no ``test``, ``val`` is taken.

    Raises:
        TransferError: The tree lacks the part, or holds no classes or no images; or a class of the training part is
            missing elsewhere, so that labels would be others.
    """
    if not has_parts(root):
        return _listed(root)
    folder = part_folder(root, part) or (part_folder(root, "validation") if part == "test" else None)
    if folder is None:
        raise TransferError(f"{root}: no folder for the {part} part. Expected one of {', '.join(PART_FOLDERS[part])}.")
    found = _listed(folder)
    training = _class_names(part_folder(root, "train") or root)
    if found.class_names != training:
        odd = sorted(set(training) ^ set(found.class_names))
        raise TransferError(
            f"{folder}: its classes are not those of the training part. Expected the same folders in both. "
            f"In one only: {', '.join(odd)}"
        )
    return found


def _listed(root: Path) -> FolderImages:
    names = _class_names(root)
    files = [list(_images(root / name)) for name in names]
    empty = [name for name, own in zip(names, files, strict=True) if not own]
    if empty:
        raise TransferError(
            f"{root}: no images in the folders of {', '.join(empty)}. Expected names in {', '.join(SUFFIXES)}."
        )
    labels = np.repeat(np.arange(len(names)), [len(own) for own in files])
    return FolderImages(tuple(file for own in files for file in own), labels.astype(np.int64), names)


def _class_names(root: Path) -> tuple[str, ...]:
    """The folders' names in Python's order, which is torchvision's and Keras's."""
    try:
        names = tuple(sorted(entry.name for entry in os.scandir(root) if entry.is_dir()))
    except OSError as error:
        raise TransferError(f"{root}: cannot be listed ({error.strerror}).") from error
    if not names:
        raise TransferError(f"{root}: no folders in it. Expected one for each class, with its images.")
    return names


def _images(folder: Path) -> Iterator[str]:
    """Every image file in a folder and the folders in it, in torchvision's order."""
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield os.path.join(place, name)
