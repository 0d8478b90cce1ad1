"""Batches: the tutorial's pixels, and the same whoever makes them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import cv2
import image_data
import numpy as np
import pytest

from weight_transfer.data import ArrayImages, Batches, Fixed, Preparation, Shuffled, split
from weight_transfer.preprocessing import preprocess

IMAGES = ArrayImages(image_data.pixels(23), np.arange(23) % 3, ("a", "b", "c"))


def batches(augment_seed: int | None = None, steps: int | None = None) -> Batches:
    order = Shuffled(split(23)[0], seed=5)
    return Batches(IMAGES, order, 5, Preparation((40, 48), augment_seed=augment_seed), steps)


def test_pixels_are_those_of_the_tutorial():
    """Bilinear by OpenCV, then BGR minus the means; each image where its label is."""
    made = batches()
    batch = made.batch(2, 1)
    chosen = made.order(2)[5:10]
    resized = np.stack([cv2.resize(IMAGES.pixels[n], (48, 40)) for n in chosen])
    np.testing.assert_array_equal(batch.x, preprocess(resized, "caffe"))
    np.testing.assert_array_equal(batch.y, chosen % 3)
    np.testing.assert_array_equal(batch.indices, chosen)
    assert (batch.x.dtype, batch.y.dtype) == (np.float32, np.int64)


def test_an_epoch_has_every_image_once_the_short_last_batch_kept():
    made = batches()
    assert len(made) == 4
    assert [made.size(0, i) for i in range(4)] == [5, 5, 5, 3]
    seen = np.concatenate([made.batch(0, i).indices for i in range(4)])
    np.testing.assert_array_equal(np.sort(seen), np.sort(split(23)[0]))
    assert made.num_images == 18
    with pytest.raises(IndexError, match="an epoch has 4 batches"):
        made.batch(0, 4)


def test_steps_cut_an_epoch():
    made = batches(steps=2)
    assert (len(made), made.num_images) == (2, 10)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_ranks_share_a_batch(world):
    made = batches(augment_seed=1)
    for i in (0, 3):
        whole = made.batch(1, i)
        for rank in range(world):
            part = made.batch(1, i, rank, world)
            np.testing.assert_array_equal(part.x, whole.x[rank::world])
            np.testing.assert_array_equal(part.y, whole.y[rank::world])
            assert part.x.shape[1:] == (40, 48, 3)  # of an empty part too


def test_augmented_pixels_do_not_depend_on_who_makes_them_or_when():
    made = batches(augment_seed=1)
    wanted = [(1, 3), (0, 0), (1, 0), (0, 2)]
    expected = [made.batch(epoch, i).x for epoch, i in reversed(wanted)][::-1]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        actual = list(pool.map(batches(augment_seed=1).batch, *zip(*wanted, strict=True)))
    for batch, x in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(batch.x, x)
    assert not np.array_equal(made.batch(0, 0).x, batches().batch(0, 0).x)
    assert not np.array_equal(made.batch(0, 0).x, batches(augment_seed=2).batch(0, 0).x)


def test_an_image_is_augmented_anew_in_each_epoch():
    made = Batches(IMAGES, Fixed(np.arange(5)), 5, Preparation((32, 32), augment_seed=1))
    assert not np.array_equal(made.batch(0, 0).x, made.batch(1, 0).x)
    plain = Batches(IMAGES, Fixed(np.arange(5)), 5, Preparation((32, 32)))
    np.testing.assert_array_equal(plain.batch(0, 0).x, plain.batch(1, 0).x)
