"""Preprocessing is keras.applications', bit for bit."""

from __future__ import annotations

import image_files
import keras_images
import keras_resnets
import numpy as np
import pytest

from weight_transfer import TransferError
from weight_transfer.images import load_images
from weight_transfer.parity.inputs import photographs
from weight_transfer.preprocessing import preprocess


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_modes_are_bit_equal_to_keras_applications(mode, keras_side):
    images = photographs((61, 67))
    expected = keras_side(keras_resnets.preprocessed, images, mode)
    actual = preprocess(images, mode)
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> np.ndarray:
    """More than 50 image files as one batch."""
    files = image_files.write_image_files(tmp_path_factory.mktemp("images"))
    return load_images(files, (61, 67), "opencv")


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_50_images_of_any_dtype_are_bit_equal_to_keras_applications(mode, dtype, real, keras_side):
    images = real.astype(dtype)
    if dtype != "uint8":  # pixels between whole numbers, as resizing leaves them
        images = images + np.asarray(1 / 3, dtype)
    given = images.copy()
    actual = preprocess(images, mode)
    np.testing.assert_array_equal(images, given)
    expected = keras_side(keras_images.preprocessed, images, mode, "channels_last", False)
    assert len(actual) > 50
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_channels_first_is_the_same_moved(mode, real, keras_side):
    moved = np.ascontiguousarray(np.moveaxis(real, -1, 1))
    expected = keras_side(keras_images.preprocessed, moved, mode, "channels_first", False)
    np.testing.assert_array_equal(np.moveaxis(preprocess(real, mode), -1, 1), expected)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_tensors_of_a_dataset_are_preprocessed_the_same(mode, real, keras_side):
    images = real.astype(np.float32)
    expected = keras_side(keras_images.preprocessed, images, mode, "channels_last", True)
    np.testing.assert_array_equal(preprocess(images, mode), expected)


def test_none_only_makes_floats():
    images = photographs((9, 9))
    np.testing.assert_array_equal(preprocess(images, "none"), images.astype(np.float32))


def test_colour_modes_leave_other_channel_counts_alone():
    images = photographs((9, 9), channels=1)
    np.testing.assert_array_equal(preprocess(images, "caffe"), images.astype(np.float32))


def test_an_unknown_mode_is_refused():
    with pytest.raises(TransferError, match="preprocessing must be one of"):
        preprocess(np.zeros((1, 2, 2, 3)), "sepia")  # type: ignore[arg-type]
