"""Telling what a person's ``--data`` is, and opening it."""

from __future__ import annotations

from pathlib import Path

from weight_transfer.data import npz
from weight_transfer.data.image_set import ImageSet, ImageStream, Part
from weight_transfer.errors import TransferError


def open_images(source: str, part: Part, classes: int | None = None) -> ImageSet | ImageStream:
    """Opens one part of a data set.

    Args:
        source: A path.
        part: Which.
        classes: How many, where the data does not say (shards).

    Raises:
        TransferError: It does not exist, is nothing known, or has no such part.
    """
    path = Path(source)
    if not path.exists():
        raise TransferError(f"{source}: does not exist. Expected {EXPECTED}.")
    return npz.open_npz(path, part)


EXPECTED = "an .npz file"
