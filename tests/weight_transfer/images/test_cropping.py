"""What is cut out of an image's centre is what Keras cuts out."""

from __future__ import annotations

import image_files
import keras_images
import numpy as np
import pytest

from weight_transfer.errors import ImageError
from weight_transfer.images import crop_of, fitted, load_image
from weight_transfer.images.keras_load_img import resize


@pytest.mark.parametrize("size", [(33, 33), (40, 21), (21, 40)])
def test_the_aspect_ratio_is_kept_as_in_keras(size, tmp_path, keras_side):
    path = tmp_path / "chelsea.png"
    image_files.photograph("chelsea", 90, 121).save(path)
    by_load_img, by_dataset = keras_side(keras_images.cropped, str(path), size)
    np.testing.assert_array_equal(load_image(path, size, "keras", crop="aspect"), by_load_img)
    np.testing.assert_allclose(load_image(path, size, "resizing", crop="aspect"), by_dataset, atol=1e-3)


@pytest.mark.parametrize("loading", ["keras", "opencv", "resizing"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_centre_is_cut_out_of_what_was_resized(loading, channels, tmp_path):
    path = tmp_path / "chelsea.png"
    image_files.photograph("chelsea", 90, 120).save(path)
    whole = load_image(path, (40, 44), loading, channels)
    found = load_image(path, (33, 33), loading, channels, crop=(40, 44))
    np.testing.assert_array_equal(found, whole[3:36, 5:38])


def test_what_cannot_be_cut_out_is_refused():
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ImageError, match="a centre of 8x8 cannot be cut out of 7x9"):
        fitted(image, (8, 8), (7, 9), resize)
    with pytest.raises(ImageError, match="a crop needs a size to cut out"):
        fitted(image, None, "aspect", resize)
    assert fitted(image, (9, 9), None, resize) is image


def test_a_crop_as_it_is_written():
    assert [crop_of(text) for text in ("256", "256x288", "aspect", None, [3, 4])] == [
        (256, 256), (256, 288), "aspect", None, (3, 4)
    ]  # fmt: skip
    for wrong in ("big", [1], [0, 2], "1x"):
        with pytest.raises(ImageError, match="crop must be a size such as 256"):
            crop_of(wrong)
