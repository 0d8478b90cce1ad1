"""A file that ends too early: decoders that fill in what is missing hide it, Pillow does not."""

from __future__ import annotations

from weight_transfer.images.formats import opened


def refuse_truncated(data: bytes) -> None:
    """Raises Pillow's error for a file that Pillow knows and cannot decode to its end."""
    from PIL import UnidentifiedImageError

    try:
        with opened(data) as image:
            image.load()
    except UnidentifiedImageError:
        return  # perhaps a kind of it that others read
