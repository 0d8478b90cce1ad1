"""Batches of a stream: the same global batches for any number of ranks and workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from weight_transfer.data.batches import Batch
from weight_transfer.data.image_set import ImageStream, Pixels, Sample
from weight_transfer.data.order import SHARD_DRAW
from weight_transfer.data.preparation import Preparation
from weight_transfer.data.splits import in_validation, index_of
from weight_transfer.images.loading import decode_image


@dataclass(frozen=True)
class KeySplit:
    """Which samples of a stream are meant, by their keys.

    Attributes:
        seed: Of the split.
        share: Of the samples, for validation.
        part: Which side of it.
    """

    seed: int
    share: float
    part: Literal["train", "validation"]

    def __call__(self, key: str) -> bool:
        """Whether a sample is meant."""
        return in_validation(key, self.seed, self.share) == (self.part == "validation")


@dataclass(frozen=True)
class StreamBatches:
    """The batches of every epoch of a stream; the last one of an epoch may be short.

    How many there are is not known before an epoch is over, unless ``steps`` says so.

    Attributes:
        images: The stream.
        batch_size: Images of a batch.
        preparation: How an image becomes an input.
        seed: Of the order, or None for the order as it stands.
        keep: Which samples are meant, or None for all.
        steps: Batches of an epoch at most, or None for all.
    """

    images: ImageStream
    batch_size: int
    preparation: Preparation
    seed: int | None = None
    keep: KeySplit | None = None
    steps: int | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.images.class_names

    def stream(
        self, epoch: int, rank: int = 0, world: int = 1, *, start: int = 0, stride: int = 1
    ) -> Iterator[tuple[int, Batch]]:
        """Yields an epoch's batches, or one rank's part of each; nothing else is decoded.

        Args:
            epoch: From 0.
            rank: Takes every ``world``-th image of a batch, from this one on.
            world: How many ranks share each batch.
            start: The first batch to make, from 0: those before it are read and passed over.
            stride: Make every so many-th batch from there on, as one of several workers does.

        Yields:
            Images of the batch, all ranks' parts together; and the batch.

        Raises:
            TransferError: A shard cannot be read.
            ImageError: An image cannot be read; the message names shard and member.
        """
        for samples in islice(self._global(epoch), start, None, stride):
            yield len(samples), self._made(samples[rank::world], epoch)

    def _global(self, epoch: int) -> Iterator[list[Sample]]:
        """Every batch of an epoch, not decoded."""
        random = None if self.seed is None else np.random.default_rng((self.seed, SHARD_DRAW, epoch))
        keep = self.keep
        meant = (sample for sample in self.images.samples(random) if keep is None or keep(sample.key))
        made = 0
        while (self.steps is None or made < self.steps) and (samples := list(islice(meant, self.batch_size))):
            yield samples
            made += 1

    def _made(self, samples: list[Sample], epoch: int) -> Batch:
        indices = np.array([index_of(sample.key) for sample in samples], np.int64)
        pixels = [
            self.preparation.pixels(self._decoded(sample), epoch, int(index))
            for sample, index in zip(samples, indices, strict=True)
        ]
        labels = np.array([sample.label for sample in samples], np.int64)
        return Batch(self.preparation.batch(pixels), labels, indices)

    def _decoded(self, sample: Sample) -> Pixels:
        pixels: Pixels = decode_image(sample.content, sample.place, None, self.preparation.loading)
        return pixels
