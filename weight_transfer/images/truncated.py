"""A file that ends too early: decoders that fill in what is missing hide it, Pillow does not."""

from __future__ import annotations

import io


def refuse_truncated(data: bytes) -> None:
    """Raises Pillow's error for a file that Pillow knows and cannot decode to its end."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError:
        return  # perhaps a format that others read
