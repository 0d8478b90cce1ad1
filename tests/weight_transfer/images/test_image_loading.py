"""Each way of loading gives, bit for bit, the pixels of the code that it follows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import image_files
import keras_images
import numpy as np
import pytest

from weight_transfer.errors import ImageError
from weight_transfer.images import WAYS, check_loading, load_image, load_images

SIZES = (None, (64, 64), (97, 225), (480, 640))
BY_TENSORFLOW_ALONE = {"palette.bmp"}  # it takes the palette's indices for grey


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    return image_files.write_image_files(tmp_path_factory.mktemp("images"))


def test_there_are_more_than_50_files(files):
    assert len(files) == len({file.name for file in files}) > 50


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("loading", "channels"), [(name, n) for name, way in WAYS.items() for n in way.channels])
def test_pixels_are_those_of_the_reference(loading, channels, size, files, keras_side):
    expected = keras_side(keras_images.loaded, files, size, loading, channels)
    compared = 0
    for file in files:
        reference = expected[file.name]
        if isinstance(reference, str) or (loading == "resizing" and file.name in BY_TENSORFLOW_ALONE):
            with pytest.raises(ImageError, match=file.name):
                load_image(file, size, loading, channels)
            continue
        actual = load_image(file, size, loading, channels)
        assert actual.dtype == reference.dtype == (np.uint8 if loading == "opencv" else np.float32)
        assert actual.shape == reference.shape
        if (loading, channels, file.name) in WITHIN_ONE:
            assert np.abs(actual - reference).max() < 1.001
        else:
            np.testing.assert_array_equal(actual, reference, err_msg=file.name)
        compared += 1
    assert compared >= (28 if (loading, channels) == ("resizing", 1) else 50)


# libpng makes grey of 16 bits, and only then drops the lower byte; Pillow gives 8-bit colours alone.
WITHIN_ONE = {("resizing", 1, name) for name in ("rgb_16bit.png", "rgba_16bit.png")}


def test_a_batch_is_the_twins_batch(files, keras_side):
    photos = [file for file in files if file.name.startswith("photo")]
    for loading in WAYS:
        actual = load_images(photos, (32, 48), loading)
        assert actual.shape == (12, 32, 48, 3)
        np.testing.assert_array_equal(actual, keras_side(keras_images.batch, photos, (32, 48), loading))


def test_the_ways_differ_by_far_more_than_rounding(files):
    """What choosing the wrong one costs: on photographs, and where the ways disagree on more than pixels."""
    by_name = {file.name: file for file in files}
    photo = by_name["photo3_100.jpg"]
    keras, opencv, resizing = (load_image(photo, None, way).astype(np.float32) for way in WAYS)
    np.testing.assert_array_equal(keras, opencv)
    assert 10 < np.abs(keras - resizing).max() < 30  # the fast DCT
    keras, opencv, resizing = (load_image(photo, (224, 224), way).astype(np.float32) for way in WAYS)
    assert np.abs(keras - opencv).max() > 100
    assert np.abs(opencv - resizing).mean() < 1
    turned = by_name[f"exif{image_files.ROTATED}.jpg"]
    assert [load_image(turned, None, way).shape for way in WAYS] == [(127, 255, 3), (255, 127, 3), (127, 255, 3)]
    deep = by_name["grey_16bit.png"]
    assert (load_image(deep, None, "keras") == 255).mean() > 0.99
    assert load_image(deep, None, "keras", channels=1).max() > 65000
    assert abs(load_image(deep, None, "opencv").mean() - 127.5) < 2


def test_own_sizes_make_no_batch(files):
    by_name = {file.name: file for file in files}
    with pytest.raises(ImageError, match=r"tiny.jpg: 5x3. Expected 257x333, the size of .*rgb.png"):
        load_images([by_name["rgb.png"], by_name["tiny.jpg"]], None, "keras")
    with pytest.raises(ImageError, match="there are no image files to load"):
        load_images([], None, "keras")


CUT_SHORT = ("photo0_90.jpg", "rgb.png", "palette.gif", "rgb.bmp", "lossy.webp")


@pytest.mark.parametrize("loading", WAYS)
@pytest.mark.parametrize("name", CUT_SHORT)
def test_a_file_cut_short_is_refused(name, loading, files, tmp_path):
    whole = next(file for file in files if file.name == name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=rf"{name}: not a readable image .*Expected a whole JPEG, PNG or the like"):
        load_image(tmp_path / name, (8, 8), loading)


@pytest.mark.parametrize("loading", WAYS)
def test_what_is_no_image_is_refused(loading, tmp_path):
    for name, content in {"empty.jpg": b"", "text.png": b"hello", "start.jpg": b"\xff\xd8\xff\xe0"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf"{name}: (not a readable image|OpenCV cannot read it)"):
            load_image(tmp_path / name, None, loading)
    with pytest.raises(ImageError, match=r"nowhere.jpg: cannot be read \(No such file or directory\)"):
        load_image(tmp_path / "nowhere.jpg", None, loading)


def test_stray_bytes_that_a_decoder_only_warns_of_are_no_damage(files, tmp_path, keras_side):
    whole = next(file for file in files if file.name == "grey.jpg").read_bytes()
    stray = tmp_path / "stray.jpg"
    stray.write_bytes(whole[:-2] + b"\x00\x01\x02" + whole[-2:])
    for loading in WAYS:
        expected = keras_side(keras_images.loaded, [stray], None, loading, 3)["stray.jpg"]
        np.testing.assert_array_equal(load_image(stray, None, loading), expected)


def test_impossible_requests_are_refused(files):
    with pytest.raises(ImageError, match=r"image loading must be one of \('keras', 'opencv', 'resizing'\)"):
        load_image(files[0], None, "pillow")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"'opencv' gives 1 or 3 channels. Received: channels=4"):
        load_image(files[0], None, "opencv", channels=4)
    with pytest.raises(ImageError, match=r"a size must be \(H, W\) of whole numbers from 1. Received: size=\(0, 3\)"):
        load_image(files[0], (0, 3), "keras")


@pytest.mark.parametrize(("loading", "missing"), [("keras", "PIL"), ("opencv", "cv2"), ("resizing", "simplejpeg")])
def test_a_missing_package_is_named(loading, missing, monkeypatch):
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    package = WAYS[loading].needs[missing]
    with pytest.raises(
        ImageError, match=rf"'{loading}' needs {package}, not installed. .*keras-resnet-to-torch\[images"
    ):
        check_loading(loading)


def test_importing_loads_no_image_library():
    code = "import sys, weight_transfer.images; print([n for n in ('PIL', 'cv2', 'simplejpeg') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
