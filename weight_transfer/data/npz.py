"""Images in one ``.npz``: `train_images` and `train_labels`, or Keras's `x_train` and `y_train`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.data.image_set import ArrayImages, Part
from weight_transfer.errors import TransferError

# Names of images and labels by part, in the order in which they are looked for.
NAMES: Mapping[Part, tuple[tuple[str, str], ...]] = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
CLASS_NAMES = "class_names"


def has_part(path: Path, part: Part) -> bool:
    """Whether a file has this part."""
    with _opened(path) as arrays:
        return _names(arrays, part) is not None


def open_npz(path: Path, part: Part) -> ArrayImages:
    """Reads one part into memory.

    Args:
        path: The file; its images are (N, H, W, 3) uint8, RGB, its labels (N,) or (N, 1) whole numbers.
        part: Which.

    Raises:
        TransferError: The file is no ``.npz``, lacks the part, or its arrays are not such.
    """
    with _opened(path) as arrays:
        names = _names(arrays, part)
        if names is None:
            expected = " or ".join(" and ".join(pair) for pair in NAMES[part])
            raise TransferError(
                f"{path}: no {part} part. Expected arrays {expected}. Received: {', '.join(sorted(arrays)) or 'none'}"
            )
        images, labels = (_read(path, arrays, name) for name in names)
        words = _read(path, arrays, CLASS_NAMES) if CLASS_NAMES in arrays else None
        largest = int(labels.max(initial=0))
        first = _names(arrays, "train")
        if first is not None and part != "train":  # every part has the classes of the training part
            largest = max(largest, int(_read(path, arrays, first[1]).max(initial=0)))
    class_names = tuple(map(str, range(largest + 1) if words is None else words.tolist()))
    return checked_images(str(path), images, labels, class_names)


def checked_images(
    place: str, images: npt.NDArray[Any], labels: npt.NDArray[Any], class_names: tuple[str, ...]
) -> ArrayImages:
    """Returns arrays as a set of images.

    Args:
        place: Where they are from, for messages.
        images: (N, H, W, 3), uint8.
        labels: (N,) or (N, 1), of whole numbers.
        class_names: By label.

    Raises:
        TransferError: They are not such, or there are none.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images):
        raise TransferError(
            f"{place}: expected images (N, H, W, 3) of uint8, RGB in 0..255. Received: {images.shape} of {images.dtype}"
        )
    if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iu":
        raise TransferError(
            f"{place}: expected a whole number per image as its label, ({len(images)},). "
            f"Received: {labels.shape} of {labels.dtype}"
        )
    flat = labels.reshape(-1).astype(np.int64)
    if flat.min() < 0 or flat.max() >= len(class_names):
        raise TransferError(
            f"{place}: expected labels in 0..{len(class_names) - 1}. Received: {flat.min()}..{flat.max()}"
        )
    return ArrayImages(images, flat, class_names)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            arrays = stack.enter_context(np.load(file, allow_pickle=False))
        except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
            raise TransferError(f"{path}: not a readable .npz file ({error}).") from error
        yield arrays


def _names(arrays: Mapping[str, Any], part: Part) -> tuple[str, str] | None:
    return next((pair for pair in NAMES[part] if pair[0] in arrays and pair[1] in arrays), None)


def _read(path: Path, arrays: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = arrays[name]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise TransferError(f"{path}: array {name!r} cannot be read ({error}).") from error
    return array
