"""What a recording keeps of a tensor is enough to see that another tensor is not it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weight_transfer.parity.sketch import COMPACT, DETAILS, LIVE, Detail, Expected, positions, sketch

KEY = "inference/conv1"
SHAPE = (2, 9, 7, 16)
LARGE = np.random.default_rng(0).normal(size=SHAPE)  # 2016 elements: COMPACT keeps a sketch of it
GATE = 1e-12


def expected(array: np.ndarray, key: str = KEY, detail: Detail = COMPACT) -> Expected:
    peak = float(np.max(np.abs(array), initial=0.0))
    return Expected(key, array.shape, peak, sketch(array, key, detail), detail)


def sums(array: np.ndarray, detail: Detail = COMPACT) -> np.ndarray:
    return sketch(array, KEY, detail)[detail.samples :]


@pytest.mark.parametrize("size", [0, 1, 95, 96])
def test_small_tensors_are_kept_whole(size):
    array = np.random.default_rng(0).normal(size=(size,)).astype(np.float32)
    kept = sketch(array, KEY, COMPACT)
    assert kept.dtype == np.float64
    np.testing.assert_array_equal(kept, array)
    assert expected(array).whole
    assert COMPACT.kept(array.shape) == kept.size


@pytest.mark.parametrize("shape", [(97,), (97, 1), (1, 97), (10, 3, 5), SHAPE])
def test_of_larger_ones_samples_and_sums_are_kept(shape):
    array = np.random.default_rng(0).normal(size=shape)
    kept = sketch(array, KEY, COMPACT)
    assert kept.size == COMPACT.kept(shape) == COMPACT.samples + COMPACT.buckets == 96
    np.testing.assert_array_equal(kept[: COMPACT.samples], array.ravel()[positions(shape, KEY, COMPACT)])
    assert not expected(array).whole


def test_both_details_are_known_by_name():
    assert {LIVE.name: LIVE, COMPACT.name: COMPACT} == DETAILS
    assert LIVE.kept((2**21,)) == 2**21
    assert LIVE.kept((2**21 + 1,)) == LIVE.samples + LIVE.buckets == 20480


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4).filter(lambda shape: math.prod(shape) > 96),
    st.text(max_size=20),
)
def test_samples_are_in_pairs_of_one_channel(shape, key):
    places = positions(tuple(shape), key, COMPACT)
    assert places.min() >= 0
    assert places.max() < math.prod(shape)
    first, second = np.split(places % shape[-1], 2)
    np.testing.assert_array_equal(first, second)


@given(
    arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.uint8, np.int64]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=11),
        elements=st.integers(0, 255),
    ),
    st.text(max_size=20),
    st.sampled_from([COMPACT, Detail("tiny", 4, 2, 3)]),
)
def test_equal_tensors_have_no_error(array, key, detail):
    known = expected(array, key, detail)
    assert known.kept.size == detail.kept(array.shape)
    found = known.error(array.copy())
    assert found.error == 0.0
    assert found.shape == array.shape
    assert found.where is None
    difference, channel = known.sampled_difference(array)
    assert not difference.any()
    assert difference.shape == channel.shape


@given(
    arrays.arrays(np.float64, arrays.array_shapes(min_side=1, max_side=9), elements=st.floats(-8, 8)),
    st.floats(-8, 8),
)
def test_an_error_grows_with_the_difference(array, shift):
    known = dataclasses.replace(expected(array), peak=1.0)
    assert known.error(array + shift).error == pytest.approx(abs(known.error(array + shift / 2).error) * 2, abs=1e-9)
    assert known.error(array + shift).error >= abs(shift) * (1 - 1e-9) - 1e-9


def swapped_channels(array: np.ndarray) -> np.ndarray:
    return array[..., [1, 0, *range(2, array.shape[-1])]]


MISTAKES = {
    "two pictures swapped": lambda a: a[::-1],
    "two channels swapped": swapped_channels,
    "height and width mixed up": lambda a: a.transpose(0, 2, 1, 3).reshape(a.shape),
    "channels reversed": lambda a: a[..., ::-1],
    "rolled by a row": lambda a: np.roll(a, 1, axis=1),
    "rolled by an element": lambda a: np.roll(a, 1),
    "rolled by as many as there are buckets": lambda a: np.roll(a, COMPACT.buckets),
    "turned by 180 degrees": lambda a: a[:, ::-1, ::-1],
    "with another sign": lambda a: -a,
    "twice as large": lambda a: 2 * a,
    "a millionth larger": lambda a: a * (1 + 1e-6),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_sums_alone_see(name):
    wrong = MISTAKES[name](LARGE)
    assert wrong.shape == LARGE.shape
    apart = np.abs(sums(LARGE) - sums(wrong)) / np.max(np.abs(LARGE))
    assert np.count_nonzero(apart > GATE) >= 6  # two of 16 channels are in 6 of 48 sums
    assert expected(LARGE).error(wrong).error > GATE


@given(st.integers(0, LARGE.size - 1), st.floats(1e-6, 10))
def test_the_sums_see_every_single_element(place, change):
    wrong = LARGE.copy()
    wrong.ravel()[place] += change
    found = expected(LARGE).error(wrong)
    rows = math.ceil(LARGE.size / COMPACT.buckets)
    least = change / math.sqrt(rows) / np.max(np.abs(LARGE))  # a sum is divided by the root of how many it adds
    assert found.error == pytest.approx(least, rel=1e-6) or found.error > least
    assert np.count_nonzero(np.abs(sums(LARGE) - sums(wrong)) > 1e-9) == 1


def test_the_sums_see_what_no_sample_shows():
    unseen = np.setdiff1d(np.arange(LARGE.size), positions(SHAPE, KEY, COMPACT))
    wrong = LARGE.copy()
    wrong.ravel()[unseen[:2]] = wrong.ravel()[unseen[1::-1]]
    difference, _ = expected(LARGE).sampled_difference(wrong)
    assert not difference.any()
    found = expected(LARGE).error(wrong)
    assert found.error > 1e-3
    assert found.where is None


def test_a_sample_says_where():
    place = positions(SHAPE, KEY, COMPACT)[5]
    wrong = LARGE.copy()
    wrong.ravel()[place] += 100
    where = expected(LARGE).error(wrong).where
    assert where is not None
    assert np.ravel_multi_index(where, SHAPE) == place
    difference, channel = expected(LARGE).sampled_difference(wrong)
    assert difference[5] == pytest.approx(-100)
    assert channel[5] == where[-1]
    assert difference.size == COMPACT.samples


def test_of_a_whole_tensor_the_place_is_always_known():
    array = np.arange(1.0, 25.0).reshape(2, 3, 4)
    wrong = array.copy()
    wrong[1, 2, 0] = 0
    assert expected(array).error(wrong).where == (1, 2, 0)
    difference, channel = expected(array).sampled_difference(wrong)
    assert np.flatnonzero(difference).tolist() == [20]
    assert channel[20] == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("array", [LARGE, LARGE[0, 0, 0]])
def test_what_is_no_number_is_infinitely_far_off(array, wrong):
    other = array.copy()
    other.ravel()[-1] = wrong
    assert expected(array).error(other).error == math.inf


@pytest.mark.parametrize("shape", [(2, 9, 7, 15), (2016,), (2, 7, 9, 16), ()])
def test_another_shape_is_infinitely_far_off(shape):
    assert expected(LARGE).error(np.ones(shape)).error == math.inf


def test_scalars_and_empty_tensors():
    assert expected(np.array(3.0)).error(np.array(3.0)).error == 0.0
    assert expected(np.array(3.0)).error(np.array(3.3)).error == pytest.approx(0.1)
    assert expected(np.array(3.0)).error(np.array(3.3)).where == ()
    assert expected(np.empty((0, 4))).error(np.empty((0, 4))).error == 0.0
    assert expected(np.empty((0, 4))).error(np.empty((0, 5))).error == math.inf


@pytest.mark.parametrize("detail", [COMPACT, Detail("all", 10_000, 2, 2)])
def test_the_layout_in_memory_does_not_matter(detail):
    as_it_is = sketch(LARGE, KEY, detail)
    np.testing.assert_array_equal(sketch(np.asfortranarray(LARGE), KEY, detail), as_it_is)
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(LARGE, -1, 1)), 1, -1)
    assert not moved.flags.c_contiguous
    np.testing.assert_array_equal(sketch(moved, KEY, detail), as_it_is)
    every_second = np.repeat(LARGE, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(sketch(every_second, KEY, detail), as_it_is)


def test_the_tensor_stays_as_it_was():
    before = LARGE.copy()
    sketch(LARGE, KEY, COMPACT)
    np.testing.assert_array_equal(LARGE, before)


def test_another_key_is_another_choice():
    assert not np.array_equal(positions(SHAPE, KEY, COMPACT), positions(SHAPE, "inference/conv2", COMPACT))
    one, other = sketch(LARGE, KEY, COMPACT), sketch(LARGE, "inference/conv2", COMPACT)
    assert np.count_nonzero(one[COMPACT.samples :] != other[COMPACT.samples :]) > COMPACT.buckets // 2


def test_the_choice_is_the_same_everywhere():
    """A recording made on one machine is compared on another: these numbers must never change."""
    assert positions((2, 5, 7, 3), KEY, COMPACT)[:8].tolist() == [14, 31, 6, 153, 125, 145, 98, 64]
    assert positions((2, 5, 7, 3), KEY, COMPACT)[24:32].tolist() == [155, 100, 183, 66, 140, 25, 29, 154]
    kept = sketch(np.arange(210.0).reshape(2, 5, 7, 3), KEY, COMPACT)
    whole_numbers = kept[48:54] * math.sqrt(5)  # 210 elements in 48 buckets: up to 5 in each
    np.testing.assert_allclose(whole_numbers, [96, 385, 98, -3, -188, -303], rtol=1e-14)
    signs = sketch(np.ones(100), KEY, Detail("signs", 0, 2, 100))[2:]
    assert "".join("-" if sign < 0 else "+" for sign in signs[:16]) == "--+-+---++-+--+-"
