"""Which files a person means who names files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from weight_transfer.errors import ImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def image_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Returns the named files, and each image file in the named folders and the folders in them, by name.

    Args:
        paths: Files of any name, and folders.

    Raises:
        ImageError: One does not exist, or a folder holds no image files.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ImageError(f"{path}: does not exist. Expected an image file, or a folder of them.")
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in sorted(path.rglob("*")) if _is_image(file)]
        if not inside:
            raise ImageError(f"{path}: a folder without image files. Expected names in {', '.join(SUFFIXES)}.")
        found += inside
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
