"""Loading as ``keras.utils.image_dataset_from_directory``: TensorFlow's decoders, ``tf.image.resize``.

A ``keras.layers.Resizing`` that is fed floats computes the same; fed whole numbers, it rounds its result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import ImageError
from weight_transfer.images.formats import opened
from weight_transfer.images.truncated import refuse_truncated

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]

JPEG_START = b"\xff\xd8\xff"
FORMATS = {1: ("PNG",), 3: ("PNG", "GIF", "BMP", "WEBP")}  # of tf.io.decode_image beside JPEG, by channels

# Grey of a colour PNG: 0.299 and 0.587 in libpng's whole 1/32768. Source: tensorflow/core/lib/png/png_io.cc,
# CommonInitDecode, png_set_rgb_to_gray.
GREY_RED, GREY_GREEN, GREY_BITS = 9797, 19234, 15
ADOBE = b"\xff\xee\x00\x0eAdobe"  # the marker of a JPEG whose CMYK is stored inverted


def load(data: bytes, size: tuple[int, int] | None, channels: int) -> Array:
    """Returns (H, W, channels), float32.

    Args:
        data: The file's bytes.
        size: (H, W) to resize to, or None.
        channels: A key of `FORMATS`.
    """
    image = _decode_jpeg(data, channels) if data.startswith(JPEG_START) else _decode_other(data, channels)
    return image.astype(np.float32) if size is None else resize(image, size)


def resize(image: Array, size: tuple[int, int]) -> Array:
    """Resizes bilinearly with half-pixel centres and without antialiasing, as `tf.image.resize` does on a CPU.

    Args:
        image: (H, W, C), of any dtype.
        size: (H, W) of the result.

    Returns:
        float32, equal to TensorFlow's bit for bit.

    Source: tensorflow/core/kernels/image/resize_bilinear_op.cc, compute_interpolation_weights and compute_lerp.
    """
    top, bottom, y = _weights(image.shape[0], size[0])
    left, right, x = _weights(image.shape[1], size[1])

    def row(rows: Indices) -> Array:
        of_rows = image[rows].astype(np.float32)
        start = of_rows[:, left]
        return start + (of_rows[:, right] - start) * x[np.newaxis, :, np.newaxis]

    upper = row(top)
    return upper + (row(bottom) - upper) * y[:, np.newaxis, np.newaxis]


def _weights(size_in: int, size_out: int) -> tuple[Indices, Indices, npt.NDArray[np.float32]]:
    """Both neighbours of each pixel of the result, and the share of the second; each step in float32."""
    scale = np.float32(size_in) / np.float32(size_out)
    position = (np.arange(size_out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(position)
    lower = np.maximum(floor, 0).astype(np.intp)
    upper = np.minimum(np.ceil(position), size_in - 1).astype(np.intp)
    return lower, upper, (position - floor).astype(np.float32)


def _decode_jpeg(data: bytes, channels: int) -> Array:
    """Decodes by libjpeg-turbo's fast DCT, as TensorFlow does: from Pillow's and OpenCV's pixels up to 4 of 255 at
    quality 75, up to 36 at quality 100.

    Source: tensorflow/core/kernels/image/decode_image_op.cc (JDCT_IFAST), and for CMYK
    tensorflow/core/lib/jpeg/jpeg_mem.cc, UncompressLow.
    """
    import simplejpeg

    def decoded(colorspace: str) -> Array:
        try:
            image: Array = simplejpeg.decode_jpeg(data, colorspace, fastdct=True)
        except ValueError:  # also for what libjpeg only warns of, such as stray bytes
            refuse_truncated(data)
            image = simplejpeg.decode_jpeg(data, colorspace, fastdct=True, strict=False)
        return image

    if simplejpeg.decode_jpeg_header(data, strict=False)[2] not in ("CMYK", "YCCK"):
        return decoded("RGB" if channels == 3 else "GRAY")
    if channels == 1:
        raise ImageError("TensorFlow reads no grey from a CMYK JPEG. Load it another way, or save it as PNG.")
    inks = decoded("CMYK").astype(np.int32)
    inks = inks if ADOBE in data else 255 - inks
    return (inks[..., :3] * inks[..., 3:] // 255).astype(np.uint8)


def _decode_other(data: bytes, channels: int) -> Array:
    """What Pillow decodes, where TensorFlow's own decoders give the same or a rule of a line describes them."""
    image = opened(data)
    if image.format not in FORMATS[channels] or (image.format == "BMP" and image.mode not in ("RGB", "L")):
        known = ", ".join(("JPEG", *FORMATS[channels]))
        raise ImageError(
            f"TensorFlow does not read {image.format} of mode {image.mode} to {channels} channels. "
            f"Expected one of {known}, a BMP without palette. Load it another way, or save it as PNG."
        )
    if image.mode.startswith("I"):  # 16-bit grey: the upper byte
        grey = (np.asarray(image).astype(np.int32) >> 8).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], channels, axis=2)
    if channels == 1 and image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))[..., np.newaxis]
    transparent = image.info.get("transparency") if image.format == "GIF" else None
    unseen = None if transparent is None else np.asarray(image) == transparent
    rgb = np.array(_without_alpha(image).convert("RGB"))
    if unseen is not None:  # TensorFlow draws a GIF's frame on black
        rgb[unseen] = 0
    return rgb if channels == 3 else _grey(rgb)


def _without_alpha(image: Any) -> Any:
    """A palette's transparency changes no colour, but Pillow warns of it."""
    image.load()
    if image.mode == "P":
        image.info.pop("transparency", None)
    return image


def _grey(rgb: Array) -> Array:
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    grey_blue = (1 << GREY_BITS) - GREY_RED - GREY_GREEN
    weighted = (GREY_RED * red + GREY_GREEN * green + grey_blue * blue) >> GREY_BITS
    grey: Array = weighted.astype(np.uint8)[..., np.newaxis]
    return grey
