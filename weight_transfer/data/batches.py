"""Batches of a set of images: what both sides train on, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weight_transfer.data.image_set import ImageSet, Indices, Labels
from weight_transfer.data.order import Order
from weight_transfer.data.preparation import Preparation


@dataclass(frozen=True)
class Batch:
    """Some images, ready for the network.

    Attributes:
        x: (N, H, W, 3), preprocessed.
        y: (N,), labels.
        indices: (N,), of the images in their set; of a stream, numbers made of their keys.
    """

    x: npt.NDArray[np.float32]
    y: Labels
    indices: Indices


@dataclass(frozen=True)
class Batches:
    """The batches of every epoch; the last one of an epoch may be short.

    Everything random is a function of (seed, epoch, index): any process can make any batch.

    Attributes:
        images: Where the pixels are.
        order: Which images an epoch takes, in order; as many in every epoch.
        batch_size: Images of a batch.
        preparation: How an image becomes an input.
        steps: Batches of an epoch at most, or None for all.
    """

    images: ImageSet
    order: Order
    batch_size: int
    preparation: Preparation
    steps: int | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.images.class_names

    @property
    def num_images(self) -> int:
        """Images of an epoch."""
        return min(len(self.order(0)), len(self) * self.batch_size)

    def __len__(self) -> int:
        """Batches of an epoch."""
        whole = -(-len(self.order(0)) // self.batch_size)
        return whole if self.steps is None else min(whole, self.steps)

    def size(self, epoch: int, i: int) -> int:
        """Images of a batch, all ranks' parts together."""
        return len(self.indices(epoch, i))

    def indices(self, epoch: int, i: int) -> Indices:
        """Which images a batch holds, all ranks' parts together, in order."""
        if not 0 <= i < len(self):
            raise IndexError(f"an epoch has {len(self)} batches. Received: {i}")
        start = i * self.batch_size
        return self.order(epoch)[start : start + self.batch_size]

    def batch(self, epoch: int, i: int, rank: int = 0, world: int = 1) -> Batch:
        """Makes a batch, or one rank's part of it.

        Args:
            epoch: From 0.
            i: From 0.
            rank: Takes every ``world``-th image of the batch, from this one on.
            world: How many ranks share the batch.

        Raises:
            ImageError: An image cannot be read; the message names its file.
        """
        mine = self.indices(epoch, i)[rank::world]
        loading = self.preparation.loading
        pixels = (self.preparation.pixels(self.images.image(int(n), loading), epoch, int(n)) for n in mine)
        return Batch(self.preparation.batch(pixels), self.images.labels[mine], mine)
