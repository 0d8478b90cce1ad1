"""CIFAR-10 from the two archives that its authors publish, packed or unpacked.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Python version" and "Binary version".
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.data.image_set import ArrayImages, Labels, Part, Pixels
from weight_transfer.data.restricted_pickle import load_arrays
from weight_transfer.errors import TransferError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)  # planes of red, green, blue
ROW_BYTES = 3 * 32 * 32
MOST_BYTES = 1 << 26  # a file of the archives has 31 MB
ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")

Arrays = tuple[npt.NDArray[np.uint8], Labels]


@dataclass(frozen=True)
class Kind:
    """One of the two archives.

    Attributes:
        folder: The folder in it.
        files: Names of its files by part.
        parse: From a file's bytes to (N, 3072) pixels, planes one after the other, and (N,) labels.
    """

    folder: str
    files: Mapping[Part, tuple[str, ...]]
    parse: Callable[[bytes], Arrays]


def _parse_pickle(content: bytes) -> Arrays:
    values = load_arrays(content)
    if not isinstance(values, dict):
        raise TransferError(f"expected a dictionary with data and labels. Received: {type(values).__name__}")
    named = {key.decode() if isinstance(key, bytes) else key: value for key, value in values.items()}
    pixels, labels = np.asarray(named.get("data")), np.asarray(named.get("labels"))
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels) if labels.ndim else 0, ROW_BYTES):
        raise TransferError(f"expected data (N, {ROW_BYTES}) of uint8, a label for each. Received: {pixels.shape}")
    return pixels, labels.astype(np.int64)


def _parse_binary(content: bytes) -> Arrays:
    if len(content) % (1 + ROW_BYTES):
        raise TransferError(f"expected {1 + ROW_BYTES} bytes per image. Received: {len(content)} bytes")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + ROW_BYTES)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
KINDS = (
    Kind("cifar-10-batches-py", {"train": _BATCHES, "test": ("test_batch",)}, _parse_pickle),
    Kind(
        "cifar-10-batches-bin",
        {"train": tuple(f"{name}.bin" for name in _BATCHES), "test": ("test_batch.bin",)},
        _parse_binary,
    ),
)


def is_archive(path: Path) -> bool:
    """Whether a path is a packed CIFAR-10, by its name."""
    return path.name.startswith("cifar-10") and path.name.endswith(ARCHIVE_ENDINGS)


def find_folder(path: Path) -> tuple[Kind, Path] | None:
    """The unpacked archive that a folder is, or holds; None where there is none."""
    for kind in KINDS:
        for folder in (path, path / kind.folder):
            if (folder / kind.files["test"][0]).is_file():
                return kind, folder
    return None


def open_cifar10(path: Path, part: Part) -> ArrayImages:
    """Reads one part into memory.

    Args:
        path: An archive, or a folder that `find_folder` knows.
        part: ``train`` or ``test``.

    Raises:
        TransferError: A file is missing, damaged, or not what the archives hold; or the part does not exist.
    """
    if part == "validation":
        raise TransferError(f"{path}: CIFAR-10 has no validation part.")
    found = find_folder(path) if path.is_dir() else None
    files = _unpacked(*found, part) if found is not None else _packed(path, part)
    pixels, labels = list[Pixels](), list[Labels]()
    for place, kind, content in files:
        try:
            batch = kind.parse(content)
        except TransferError as error:
            raise TransferError(f"{place}: {error}") from error
        if not len(batch[1]) or batch[1].min() < 0 or batch[1].max() >= len(CLASS_NAMES):
            raise TransferError(f"{place}: expected images with labels in 0..9.")
        if labels and len(batch[1]) != len(labels[0]):
            raise TransferError(
                f"{place}: {len(batch[1]):,} images. Expected {len(labels[0]):,}, as the others have: it was cut off."
            )
        pixels.append(_images(batch[0]))
        labels.append(batch[1])
    return ArrayImages(np.concatenate(pixels), np.concatenate(labels), CLASS_NAMES)


def _images(rows: npt.NDArray[np.uint8]) -> Pixels:
    """(N, 32, 32, 3) of (N, 3072)."""
    return rows.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)


def _unpacked(kind: Kind, folder: Path, part: Part) -> Iterator[tuple[str, Kind, bytes]]:
    for name in kind.files[part]:
        file = folder / name
        try:
            size_bytes = file.stat().st_size
            if size_bytes > MOST_BYTES:
                raise _too_large(str(file), size_bytes)
            yield str(file), kind, file.read_bytes()
        except OSError as error:
            raise TransferError(
                f"{file}: cannot be read ({error.strerror}). Expected the whole archive: {', '.join(kind.files[part])}"
            ) from error


def _packed(path: Path, part: Part) -> Iterator[tuple[str, Kind, bytes]]:
    """Streams the archive once; nothing is written to disk, and only files of the known names are looked at."""
    contents: dict[str, bytes] = {}
    wanted = {name for kind in KINDS for name in kind.files[part]}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in wanted and member.isfile():
                    if member.size > MOST_BYTES:
                        raise _too_large(f"{path}, {member.name}", member.size)
                    file: Any = archive.extractfile(member)
                    contents[name] = file.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise TransferError(f"{path}: not a whole archive ({error}). Download it again.") from error
    kind = next((kind for kind in KINDS if set(kind.files[part]) <= set(contents)), None)
    if kind is None:
        expected = " or ".join(", ".join(kind.files[part]) for kind in KINDS)
        raise TransferError(f"{path}: not CIFAR-10's archive. Expected {expected}.")
    for name in kind.files[part]:
        yield f"{path}, {name}", kind, contents[name]


def _too_large(place: str, size_bytes: int) -> TransferError:
    return TransferError(f"{place}: {size_bytes:,} bytes. Expected at most {MOST_BYTES:,} for 10,000 images.")
