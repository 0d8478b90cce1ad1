"""The shared batches as Keras takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from weight_transfer.data import Batch, Batches, StreamBatches

Pair = tuple[np.ndarray, np.ndarray]  # (N, H, W, 3) and one-hot (N, classes)


class Feed:
    """What `fit` or `evaluate` reads.

    Args:
        batches: The shared batches.
        classes: How many there are.
        dtype: Of the network.
        workers: Threads that make batches.

    Attributes:
        epoch: Which epoch's batches are given, from 0; `begin` moves it on.
        data: For `fit`: the order is the batches' own, so pass ``shuffle=False``.
        error: What went wrong while a batch was made. TensorFlow wraps it in a text of its own.
    """

    def __init__(self, batches: Batches | StreamBatches, classes: int, dtype: str, workers: int = 1) -> None:
        self.batches, self.classes, self.dtype = batches, classes, dtype
        self.epoch = 0
        self._sizes: list[int] = []
        self.error: Exception | None = None
        self.data: Any = _Indexed(self, batches, workers) if isinstance(batches, Batches) else _streamed(self, batches)

    def begin(self, epoch: int) -> None:
        """Gives an epoch's batches from now on."""
        self.epoch, self._sizes = epoch, []

    def size(self, i: int) -> int:
        """Images of a batch of this epoch; of a stream, of one that was given already."""
        return self.batches.size(self.epoch, i) if isinstance(self.batches, Batches) else self._sizes[i]

    def pair(self, make: Callable[[], Batch]) -> Pair:
        """Returns a batch's inputs and one-hot targets, keeping what went wrong."""
        try:
            batch = make()
        except Exception as error:
            self.error = error
            raise
        self._sizes.append(len(batch.y))
        return batch.x.astype(self.dtype), np.eye(self.classes, dtype=self.dtype)[batch.y]


class _Indexed(keras.utils.PyDataset):
    """Batches by number."""

    def __init__(self, feed: Feed, batches: Batches, workers: int) -> None:
        super().__init__(workers=workers)
        self.feed, self.batches = feed, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> Pair:
        feed = self.feed
        return feed.pair(lambda: self.batches.batch(feed.epoch, i))


def _streamed(feed: Feed, batches: StreamBatches) -> tf.data.Dataset:
    """Batches one after the other; `fit` begins the stream anew in each epoch."""

    def pairs() -> Iterator[Pair]:
        stream = batches.stream(feed.epoch)
        while (pair := feed.pair(lambda: next(stream, (0, _NONE))[1]))[0].size:
            yield pair

    images = tf.TensorSpec((None, *batches.preparation.size, 3), feed.dtype)
    targets = tf.TensorSpec((None, feed.classes), feed.dtype)
    return tf.data.Dataset.from_generator(pairs, output_signature=(images, targets)).prefetch(2)


_NONE = Batch(np.zeros((0, 0, 0, 3), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
