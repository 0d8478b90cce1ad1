"""Preprocessing is keras.applications', bit for bit."""

from __future__ import annotations

import keras_resnets
import numpy as np
import pytest

from weight_transfer import TransferError
from weight_transfer.parity.inputs import photographs
from weight_transfer.preprocessing import preprocess


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_modes_are_bit_equal_to_keras_applications(mode, keras_side):
    images = photographs((61, 67))
    expected = keras_side(keras_resnets.preprocessed, images, mode)
    actual = preprocess(images, mode)
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


def test_none_only_makes_floats():
    images = photographs((9, 9))
    np.testing.assert_array_equal(preprocess(images, "none"), images.astype(np.float32))


def test_colour_modes_leave_other_channel_counts_alone():
    images = photographs((9, 9), channels=1)
    np.testing.assert_array_equal(preprocess(images, "caffe"), images.astype(np.float32))


def test_an_unknown_mode_is_refused():
    with pytest.raises(TransferError, match="preprocessing must be one of"):
        preprocess(np.zeros((1, 2, 2, 3)), "sepia")  # type: ignore[arg-type]
