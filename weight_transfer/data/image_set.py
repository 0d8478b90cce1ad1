"""What a set of images is: random access to some, a stream of shards for more than a disk holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from weight_transfer.images import ImageLoading

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

Pixels = npt.NDArray[Any]  # uint8, or float32 where an image was resized to numbers between whole ones
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]


class ImageSet(Protocol):
    """Images with random access."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""

    @property
    def labels(self) -> Labels:
        """(N,), the class of each image."""

    def __len__(self) -> int:
        """How many images."""

    def image(self, index: int, loading: ImageLoading) -> Pixels:
        """Returns an image as it is stored: (H, W, 3), RGB in 0..255.

        Args:
            index: Of the image.
            loading: How pixels are made of an image file; matters to no others.

        Raises:
            ImageError: It is not a readable image; the message names its file.
        """


@dataclass(frozen=True)
class Sample:
    """One image of a stream, not decoded yet.

    Attributes:
        key: Its name in the shard.
        place: The shard and the member, for messages.
        label: Its class.
        content: The image file's bytes.
    """

    key: str
    place: str
    label: int
    content: bytes


@runtime_checkable
class ImageStream(Protocol):
    """Images that come one after the other."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""

    def samples(self, random: np.random.Generator | None) -> Iterator[Sample]:
        """Yields every sample once: in the shards' order, or in one drawn from ``random``.

        Raises:
            TransferError: A shard cannot be read, or a sample lacks its image or its label.
        """


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory.

    Attributes:
        pixels: (N, H, W, 3), RGB in 0..255.
        labels: (N,).
        class_names: By label.
    """

    pixels: npt.NDArray[Any]
    labels: Labels
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int, loading: ImageLoading) -> Pixels:
        """Returns (H, W, 3)."""
        pixels: Pixels = self.pixels[index]
        return pixels


@dataclass(frozen=True)
class Subset:
    """The first so many images of a set."""

    images: ImageSet
    length: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the whole set."""
        return self.images.class_names

    @property
    def labels(self) -> Labels:
        """(length,)."""
        return self.images.labels[: self.length]

    def __len__(self) -> int:
        return min(self.length, len(self.images))

    @property
    def files(self) -> tuple[str, ...] | None:
        """Of the images, where they are files."""
        files: tuple[str, ...] | None = getattr(self.images, "files", None)
        return None if files is None else files[: self.length]

    def image(self, index: int, loading: ImageLoading) -> Pixels:
        """Returns (H, W, 3)."""
        return self.images.image(index, loading)
