"""WebDataset shards: tar files whose members ``KEY.jpg`` and ``KEY.cls`` are one sample, read as a stream.

The `webdataset` library imports torch, which may not share a process with TensorFlow; the format needs a tar
reader only. Source: https://github.com/webdataset/webdataset, webdataset/tariterators.py.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from weight_transfer.data.image_set import Sample
from weight_transfer.errors import TransferError

# What of a member's name is the key, and what its kind: the first dot of the last part divides them.
MEMBER = re.compile(r"((?:.*/|)[^.]+)\.([^/]*)")
IMAGE_KINDS = ("jpg", "jpeg", "png", "ppm", "bmp", "webp")
LABEL_KINDS = ("cls", "cls2")
JSON_LABELS = ("label", "cls", "class")
SHUFFLE_BUFFER = 1000  # samples, as encoded bytes
MOST_SAMPLE_BYTES = 1 << 28


@dataclass(frozen=True)
class Shards:
    """A stream of samples.

    Attributes:
        urls: Of the shards, in order.
        class_names: By label.
    """

    urls: tuple[str, ...]
    class_names: tuple[str, ...]

    def samples(self, random: np.random.Generator | None) -> Iterator[Sample]:
        """Yields every sample once.

        Args:
            random: Draws the order of the shards, and of samples within a buffer; None for the order as it stands.

        Raises:
            TransferError: A shard cannot be read, or a sample lacks its image or its label.
        """
        if random is None:
            yield from self._in_order(self.urls)
            return
        urls = [self.urls[n] for n in random.permutation(len(self.urls))]
        yield from _shuffled(self._in_order(urls), random)

    def _in_order(self, urls: Sequence[str]) -> Iterator[Sample]:
        for url in urls:
            for key, members in _groups(url):
                yield self._sample(url, key, members)

    def _sample(self, url: str, key: str, members: dict[str, bytes]) -> Sample:
        kind = next((kind for kind in IMAGE_KINDS if kind in members), None)
        if kind is None:
            raise TransferError(
                f"{url}: sample {key} has no image. Expected a member {key}.jpg or the like. "
                f"Received: {', '.join(sorted(members))}"
            )
        label = _label(members)
        if label is None or not 0 <= label < len(self.class_names):
            raise TransferError(
                f"{url}: sample {key} has the label {label}. Expected a number in 0..{len(self.class_names) - 1} "
                f"in {key}.cls, or as label in {key}.json."
            )
        return Sample(key, f"{url}, {key}.{kind}", label, members[kind])


def open_shards(pattern: str, classes: int | None) -> Shards:
    """Finds the shards of a pattern.

    Args:
        pattern: ``shards-{000..009}.tar``, local or any URL that fsspec opens, or a folder of ``.tar`` files.
        classes: How many there are.

    Raises:
        TransferError: There are no shards, or nobody said how many classes there are.
    """
    if classes is None:
        raise TransferError(f"{pattern}: shards do not say how many classes there are. Say it by --classes.")
    if os.path.isdir(pattern):
        urls = [str(path) for path in sorted(Path(pattern).glob("*.tar"))]
    else:
        urls = list(expanded(pattern))
    if not urls:
        raise TransferError(f"{pattern}: no .tar files. Expected WebDataset shards.")
    missing = [url for url in urls if "://" not in url and not os.path.isfile(url)]
    if missing:
        raise TransferError(f"{missing[0]}: does not exist ({len(missing)} of {len(urls)} shards do not).")
    return Shards(tuple(urls), tuple(map(str, range(classes))))


def expanded(pattern: str) -> Iterator[str]:
    """Yields the paths or URLs that ``shards-{000..009}.tar`` stands for.

    Raises:
        TransferError: Its braces do not match, or braceexpand is missing.
    """
    if "{" not in pattern:
        return iter([pattern])
    try:
        import braceexpand
    except ImportError as error:
        raise _not_installed("braceexpand") from error
    try:
        return iter(list(braceexpand.braceexpand(pattern)))
    except ValueError as error:
        raise TransferError(f"{pattern}: braces that do not match. Expected such as shards-{{000..009}}.tar") from error


def _opened(url: str) -> IO[bytes]:
    try:
        if "://" not in url:
            return open(url, "rb")
        try:
            import fsspec
        except ImportError as error:
            raise _not_installed("fsspec") from error
        file: IO[bytes] = fsspec.open(url, "rb").open()
        return file
    except TransferError:
        raise
    except Exception as error:  # of any file system's library
        raise TransferError(f"{url}: cannot be opened ({type(error).__name__}: {error}).") from error


def _not_installed(package: str) -> TransferError:
    return TransferError(
        f"reading such shards needs {package}, not installed. Install it: pip install 'keras-resnet-to-torch[train]'"
    )


def _groups(url: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each key of a shard with its members by kind; members of one key follow each other."""
    key, members = None, dict[str, bytes]()
    for name, content in _members(url):
        match = MEMBER.fullmatch(name)
        if match is None:
            continue
        if match[1] != key:
            if key is not None:
                yield key, members
            key, members = match[1], {}
        kind = match[2].lower()
        if kind in members:
            raise TransferError(f"{url}: two members {name}. Expected one of each kind in a sample.")
        members[kind] = content
    if key is not None:
        yield key, members


def _members(url: str) -> Iterator[tuple[str, bytes]]:
    try:
        with closing(_opened(url)) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_WholeHeader) as archive:
            for member in archive:
                if member.isfile() and not member.name.startswith("__"):
                    if member.size > MOST_SAMPLE_BYTES:
                        raise TransferError(f"{url}: {member.name} has {member.size:,} bytes. Expected an image.")
                    content: Any = archive.extractfile(member)
                    yield member.name, content.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise TransferError(f"{url}: not a whole tar file ({error}). Copy or download it again.") from error


class _WholeHeader(tarfile.TarInfo):
    """Refuses half a header, which `tarfile` takes for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _WholeHeader:
        if 0 < len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")
        return super().frombuf(buf, encoding, errors)


def _label(members: dict[str, bytes]) -> int | None:
    try:
        for kind in LABEL_KINDS:
            if kind in members:
                return int(members[kind].decode())
        if "json" in members:
            values = json.load(io.BytesIO(members["json"]))
            return next((int(values[name]) for name in JSON_LABELS if name in values), None)
    except (ValueError, TypeError):
        return None
    return None


def _shuffled(samples: Iterator[Sample], random: np.random.Generator) -> Iterator[Sample]:
    """Draws from a buffer that is kept full."""
    buffer: list[Sample] = []
    for sample in samples:
        if len(buffer) < SHUFFLE_BUFFER:
            buffer.append(sample)
            continue
        place = int(random.integers(len(buffer)))
        chosen, buffer[place] = buffer[place], sample
        yield chosen
    for place in random.permutation(len(buffer)):
        yield buffer[place]
