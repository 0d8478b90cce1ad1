"""Preprocessing is keras.applications', bit for bit."""

from __future__ import annotations

import json

import image_files
import keras_images
import keras_resnets
import numpy as np
import pytest

from weight_transfer import TransferError
from weight_transfer.images import load_images
from weight_transfer.parity.inputs import photographs
from weight_transfer.preprocessing import INSIDE, NOT_KNOWN, Preprocessing, agreed, preprocess, preset


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
        preprocess(np.zeros((1, 2, 2, 3)), "sepia")


OWN = {
    "scale": Preprocessing(divisor=255.0),
    "one number for all": Preprocessing(divisor=127.5, mean=(1.0,)),
    "each channel, BGR": Preprocessing("BGR", 255.0, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    "numbers of 0..255": Preprocessing(mean=(120.5, 110.5, 100.5), std=(60.0, 61.0, 62.0)),
}


@pytest.mark.parametrize("name", OWN)
def test_any_other_is_what_an_owner_writes(name):
    how, x = OWN[name], photographs((9, 9)).astype(np.float32)
    ordered = x[..., ::-1] if how.channel_order == "BGR" else x
    expected = (ordered / np.float32(how.divisor) - np.float32(how.mean or 0)) / np.float32(how.std or 1)
    np.testing.assert_array_equal(preprocess(photographs((9, 9)), how), expected)
    assert Preprocessing.from_dict(json.loads(json.dumps(how.to_dict()))) == how


def test_what_a_person_says_for_colours_is_no_word_on_grey():
    with pytest.raises(TransferError, match=r"own: .* does not fit images of 1 channels"):
        preprocess(photographs((9, 9), channels=1), OWN["each channel, BGR"])
    assert preprocess(photographs((9, 9), channels=1), OWN["scale"]).max() <= 1


def test_two_are_equal_that_do_the_same_and_certainty_stands_beside():
    assert preset("tf", "guessed") == preset("tf") == OWN["one number for all"]
    assert [one.name for one in OWN.values()] == ["own", "tf", "own", "own"]
    assert preset("tf").text == "tf: divided by 127.5, minus 1 (known)"
    assert INSIDE.text == "none: RGB in 0..255 as it is (inside the network)"
    assert "(guessed; --preprocessing, --scale, --mean, --std, --channel-order say otherwise)" in NOT_KNOWN.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"divisor": 0}, "the divisor must be a number above 0"),
        ({"mean": [1, "a"]}, "mean must hold one number, or one for each channel"),
        ({"mean": [1, 2, 3, 4, 5]}, "mean must hold one number, or one for each channel"),
        ({"std": [0.0]}, "std must hold numbers above 0"),
        ({"std": [1.0, -1.0, 1.0]}, "std must hold numbers above 0"),
        ({"std": [float("nan")]}, "std must hold one number"),
        ({"channel_order": "GRB"}, "channel order must be one of"),
        ({"certainty": "sure"}, "certainty must be one of"),
        ({"colour": 1}, "unexpected keyword"),
    ],
)
def test_what_cannot_be_is_refused(fields, words):
    with pytest.raises(TransferError, match=words):
        Preprocessing.from_dict(fields)


def test_a_person_decides_where_nothing_is_known_and_contradicts_nothing_that_is():
    assert agreed(preset("caffe", "guessed"), preset("tf"), "m.h5") == preset("tf")
    assert agreed(preset("caffe", "guessed"), None, "m.h5").certainty == "guessed"
    assert agreed(preset("tf"), preset("tf"), "m.h5").certainty == "known"
    with pytest.raises(TransferError, match=r"m.h5: its preprocessing is known: tf: .* Received caffe: .* convert"):
        agreed(preset("tf"), preset("caffe"), "m.h5")
    with pytest.raises(TransferError, match=r"is inside the network: .* Received caffe"):
        agreed(INSIDE, preset("caffe"), "m.h5")
