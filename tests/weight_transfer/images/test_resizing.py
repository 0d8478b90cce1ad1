"""`resizing` is TensorFlow's, bit for bit: its resize, and the dataset that Keras makes of a folder."""

from __future__ import annotations

import image_files
import keras_images
import numpy as np
import pytest

from weight_transfer.errors import ImageError
from weight_transfer.images import load_image
from weight_transfer.images.resizing import resize


def test_resize_is_bit_equal_to_tensorflow_at_any_size(keras_side):
    generator = np.random.default_rng(0)
    images, sizes = [], []
    for number in range(60):
        height, width, to_height, to_width = (int(n) for n in generator.integers(1, 400, 4))
        image = generator.uniform(-10, 300, (height, width, (1, 3, 4)[number % 3]))
        images.append(image.astype(np.uint8 if number % 2 else np.float32))
        sizes.append((to_height, to_width))
    images.append(images[0])
    sizes.append(images[0].shape[:2])  # as it is
    expected = keras_side(keras_images.resized, images, sizes)
    for image, size, reference in zip(images, sizes, expected, strict=True):
        actual = resize(image, size)
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, reference)


def test_files_are_loaded_as_keras_makes_a_dataset_of_their_folder(tmp_path, keras_side):
    files = [file for file in image_files.write_image_files(tmp_path) if file.suffix in (".jpg", ".png", ".gif")]
    for file in tmp_path.iterdir():
        if file not in files:
            file.unlink()
    expected = keras_side(keras_images.dataset, tmp_path, (90, 60))
    assert set(expected) == {file.name for file in files}
    for file in files:
        np.testing.assert_array_equal(load_image(file, (90, 60), "resizing"), expected[file.name], err_msg=file.name)


def test_the_layer_gives_the_same_of_floats_and_rounds_whole_numbers(keras_side):
    image = np.asarray(image_files.photograph("coffee", 91, 123))
    expected = resize(image, (64, 47))
    layer = keras_side(keras_images.resized_by_the_layer, image.astype(np.float32), (64, 47))
    np.testing.assert_array_equal(layer, expected)
    rounded = keras_side(keras_images.resized_by_the_layer, image, (64, 47))
    np.testing.assert_array_equal(rounded, np.round(expected))


@pytest.mark.parametrize(
    ("name", "channels", "words"),
    [
        ("rgb.tif", 3, r"TensorFlow does not read TIFF of mode RGB to 3 channels. Expected one of JPEG, PNG, GIF"),
        ("palette.bmp", 3, "TensorFlow does not read BMP of mode P"),
        ("palette.gif", 1, "TensorFlow does not read GIF of mode P to 1 channels"),
        ("cmyk.jpg", 1, "TensorFlow reads no grey from a CMYK JPEG"),
    ],
)
def test_what_tensorflow_does_not_read_is_refused(name, channels, words, tmp_path):
    file = next(file for file in image_files.write_image_files(tmp_path) if file.name == name)
    with pytest.raises(ImageError, match=f"{name}: {words}"):
        load_image(file, None, "resizing", channels)
