"""Image files of every kind that photographs come as: scikit-image's, saved by Pillow and OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
from PIL import Image

ROTATED = 6  # EXIF orientation: shown turned by a quarter, width and height swapped


def write_image_files(folder: Path) -> list[Path]:
    """Writes 56 files and returns their paths."""
    return [_save(image, folder / name, **options) for name, image, options in _files()]


def _save(image: Any, path: Path, **options: Any) -> Path:
    if isinstance(image, np.ndarray):  # 16 bits, which Pillow does not write in colour
        assert cv2.imwrite(str(path), image)
    else:
        image.save(path, **options)
    return path


def photograph(name: str, height: int, width: int) -> Image.Image:
    """The upper left part of one of scikit-image's photographs."""
    return Image.fromarray(getattr(skimage.data, name)()[:height, :width, :3])


def _files() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    astronaut, coffee = photograph("astronaut", 257, 333), photograph("coffee", 301, 451)
    chelsea, rocket = photograph("chelsea", 127, 255), photograph("rocket", 427, 640)
    yield from _jpegs(astronaut, coffee, chelsea, rocket)
    yield from _rotated(chelsea)
    yield from _pngs(astronaut)
    yield from _others(coffee, chelsea)
    yield "one_pixel.png", astronaut.crop((90, 90, 91, 91)), {}
    yield "one_row.png", astronaut.crop((0, 90, 7, 91)), {}
    yield "tiny.jpg", astronaut.crop((90, 90, 93, 95)), {}
    yield "tall.png", coffee.crop((50, 0, 61, 301)), {}


def _jpegs(*photographs: Image.Image) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    astronaut, coffee, chelsea, rocket = photographs
    for number, photo in enumerate(photographs):
        for quality, subsampling in ((100, 0), (90, 1), (75, 2)):
            yield f"photo{number}_{quality}.jpg", photo, {"quality": quality, "subsampling": subsampling}
    yield "quality_20.jpg", rocket, {"quality": 20}
    yield "progressive.jpg", coffee, {"quality": 85, "progressive": True}
    yield "rgb_inside.jpg", astronaut, {"keep_rgb": True}
    yield "grey.jpg", chelsea.convert("L"), {}
    yield "cmyk.jpg", chelsea.convert("CMYK"), {}


def _rotated(photo: Image.Image) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif{orientation}.jpg", photo, {"exif": exif}
        if orientation in (3, ROTATED):
            yield f"exif{orientation}.png", photo, {"exif": exif}


def _pngs(photo: Image.Image) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    generator = np.random.default_rng(0)
    alpha = Image.fromarray(generator.integers(0, 256, (photo.height, photo.width), np.uint8))
    palette = photo.quantize(64)
    yield "rgb.png", photo, {}
    yield "grey.png", photo.convert("L"), {}
    yield "one_bit.png", photo.convert("1"), {}
    yield "rgba.png", Image.merge("RGBA", (*photo.split(), alpha)), {}
    yield "grey_alpha.png", Image.merge("LA", (photo.convert("L"), alpha)), {}
    yield "rgb_transparent.png", photo, {"transparency": (0, 0, 0)}
    yield "grey_transparent.png", photo.convert("L"), {"transparency": 7}
    yield "palette.png", palette, {}
    yield "palette_16.png", photo.quantize(16), {}
    yield "palette_transparent.png", palette, {"transparency": 3}
    yield "palette_alpha.png", palette, {"transparency": generator.integers(0, 256, 64, np.uint8).tobytes()}
    for name, shape in (("grey_16bit", (97, 131)), ("rgb_16bit", (97, 131, 3)), ("rgba_16bit", (97, 131, 4))):
        yield f"{name}.png", generator.integers(0, 65536, shape, np.uint16), {}


def _others(coffee: Image.Image, chelsea: Image.Image) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    yield "rgb.bmp", coffee, {}
    yield "grey.bmp", chelsea.convert("L"), {}
    yield "palette.gif", chelsea, {}
    yield "transparent.gif", chelsea.quantize(20), {"transparency": 3}
    yield "animated.gif", chelsea, {"save_all": True, "append_images": [chelsea.transpose(Image.Transpose.ROTATE_180)]}
    yield "lossless.webp", chelsea, {"lossless": True}
    yield "lossy.webp", coffee, {"quality": 80}
    yield "rgb.tif", chelsea, {}
    yield "palette.bmp", chelsea.quantize(40), {}
