"""The reference's own loading refuses what it cannot do; what it gives is compared in `test_image_loading`."""

from __future__ import annotations

import keras_images


def test_refusals_are_in_words(tmp_path, keras_side):
    (tmp_path / "text.png").write_bytes(b"hello")
    (tmp_path / "start.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    found = keras_side(keras_images.loaded, [tmp_path / "text.png", tmp_path / "start.jpg"], None, "opencv", 3)
    assert found["text.png"].startswith(f"ImageError: {tmp_path / 'text.png'}: not a readable image (its first bytes")
    assert found["start.jpg"] == f"ImageError: {tmp_path / 'start.jpg'}: OpenCV cannot read it."
    found = keras_side(keras_images.loaded, [tmp_path / "text.png"], None, "pillow", 3)
    assert "image loading must be one of" in found["text.png"]
