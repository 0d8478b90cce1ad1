"""Augmentation: what each warp does, and that a draw depends on nothing but (seed, epoch, index)."""

from __future__ import annotations

import image_data
import numpy as np
import pytest

from weight_transfer.data.augmentation import MOST_DEGREES, MOST_SHIFT, MOST_ZOOM, Warp, draw, warp

IMAGE = image_data.pixels(1, 32)[0]


def test_each_part_of_a_warp_does_what_it_says():
    np.testing.assert_array_equal(warp(IMAGE, Warp()), IMAGE)
    np.testing.assert_array_equal(warp(IMAGE, Warp(flip=True)), IMAGE[:, ::-1])
    down_right = warp(IMAGE, Warp(shift=(0.125, 0.25)))
    np.testing.assert_array_equal(down_right[4:, 8:], IMAGE[:-4, :-8])
    np.testing.assert_array_equal(down_right[:4, 8:], IMAGE[4:0:-1, :-8])  # mirrored at the edge
    np.testing.assert_array_equal(warp(IMAGE, Warp(degrees=90)), np.rot90(IMAGE))
    twice = warp(IMAGE, Warp(zoom=2.0)).astype(int)
    centre = IMAGE[8:24, 8:24].astype(int)
    assert abs(twice.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)) - centre).mean() < 6  # enlarged about the middle


def test_draws_differ_by_seed_epoch_and_index_and_by_nothing_else():
    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({draw(*key) for key in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2), (3, 2, 1)]}) == 6


def test_draws_keep_within_their_limits_and_use_them():
    drawn = [draw(0, 0, index) for index in range(500)]
    assert 200 < sum(one.flip for one in drawn) < 300
    for values, most in (
        ([one.shift[0] for one in drawn], MOST_SHIFT),
        ([one.shift[1] for one in drawn], MOST_SHIFT),
        ([one.degrees for one in drawn], MOST_DEGREES),
        ([one.zoom - 1 for one in drawn], MOST_ZOOM),
    ):
        assert 0.95 * most < max(values) <= most
        assert -most <= min(values) < -0.95 * most
        assert abs(np.mean(values)) < 0.1 * most


@pytest.mark.parametrize("size", [(20, 33), (7, 7)])
def test_sizes_stay(size):
    image = image_data.pixels(1, 40)[0][: size[0], : size[1]]
    assert warp(image, draw(0, 0, 0)).shape == image.shape
