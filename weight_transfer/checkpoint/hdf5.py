"""A walk through an HDF5 file that never leaves it, and says where each array's bytes lie.

HDF5 can point elsewhere: soft and external links, datasets stored in other files, datasets made of
other datasets. h5py follows all of them (even ``name in group`` opens an external link's target),
so each step here asks for the link's kind first, and opens hard links only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.refusal import DAMAGED, refusal, refusing
from weight_transfer.checkpoint.source import Source
from weight_transfer.errors import CheckpointError, quoted

# What h5py raises for a damaged file, depending on where it notices.
H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)

BFLOAT16 = np.dtype("V2")  # what both Kerases store bfloat16 as

SAVE_AGAIN = "Save the model again with Keras."
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@dataclass(frozen=True)
class Stored:
    """Where an array is.

    Attributes:
        path: Its HDF5 path.
        shape: Its shape.
        dtype: NumPy's word for its numbers as stored, such as ``<f4``.
        offset: Its first byte, all others following; None where HDF5 stores it in pieces.
        source: Index of the file that holds it.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None
    source: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all its numbers."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@contextmanager
def open_tree(source: Source, index: int = 0) -> Iterator[Tree]:
    """Opens an HDF5 file; whatever goes wrong inside the block becomes a `CheckpointError`."""
    with refusing(source.label, "the HDF5 library", *H5PY_ERRORS), h5py.File(source.stream, "r") as file:
        yield Tree(file, source, index)


class Tree:
    """One open HDF5 file."""

    def __init__(self, file: h5py.File, source: Source, index: int) -> None:
        self.root: h5py.Group = file["/"]
        self._source = source
        self._index = index
        self._paths: dict[int, str] = {h5py.h5o.get_info(self.root.id).addr: "/"}

    def refusal(self, path: str, problem: str, advice: str = SAVE_AGAIN) -> CheckpointError:
        """Returns the error for an object of the file."""
        return refusal(self._source.label, f"{quoted(path)}: {problem}", advice)

    def names(self, group: h5py.Group) -> list[str]:
        """Returns the names in a group, in the file's order, opening none."""
        return [_text(name) for name in group.id]

    def has(self, group: h5py.Group, name: str) -> bool:
        """Whether a group has this name, without following it."""
        return bool(group.id.links.exists(_encoded(name)))

    def child(self, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
        """Opens one name of a group.

        Raises:
            CheckpointError: It is absent, no hard link, neither group nor dataset, or was met
                before under another name.
        """
        path = f"{path_of(group).rstrip('/')}/{name}"
        if name in ("", ".", "..") or "/" in name or "\0" in name or len(name) > limits.NAME_CHARACTERS:
            raise self.refusal(path, "not a name that Keras gives")
        if not self.has(group, name):
            raise self.refusal(path, "the file names it, but does not hold it", DAMAGED)
        if group.id.links.get_info(_encoded(name)).type != h5py.h5l.TYPE_HARD:
            raise self.refusal(path, "a link to elsewhere. Expected the array or the group itself")
        identity = h5py.h5o.open(group.id, _encoded(name))
        self._remember(path, h5py.h5o.get_info(identity).addr)
        if isinstance(identity, h5py.h5g.GroupID):
            return h5py.Group(identity)
        if isinstance(identity, h5py.h5d.DatasetID):
            return h5py.Dataset(identity)
        raise self.refusal(path, "neither a group nor an array")

    def group(self, group: h5py.Group, name: str) -> h5py.Group:
        """Opens a group of a group."""
        item = self.child(group, name)
        if not isinstance(item, h5py.Group):
            raise self.refusal(path_of(item), "an array. Expected a group")
        return item

    def array(self, group: h5py.Group, name: str) -> Stored:
        """Locates an array of a group."""
        item = self.child(group, name)
        if not isinstance(item, h5py.Dataset):
            raise self.refusal(path_of(item), "a group. Expected an array")
        return self._stored(item)

    def text(self, item: h5py.Group, attribute: str) -> str | None:
        """Returns a text attribute, or None if there is none."""
        found = self._texts(item, attribute)
        return found[0] if found else None

    def texts(self, item: h5py.Group, attribute: str) -> list[str] | None:
        """Returns a list of texts, or None if there is none.

        Keras splits a long list into ``attribute0``, ``attribute1``, and so on.
        """
        whole = self._texts(item, attribute)
        if whole is not None:
            return whole
        parts: list[str] = []
        number = 0
        while (part := self._texts(item, f"{attribute}{number}")) is not None:
            parts += part
            number += 1
        return parts if number else None

    def _texts(self, item: h5py.Group, name: str) -> list[str] | None:
        if not h5py.h5a.exists(item.id, name.encode()):
            return None
        where = f"{path_of(item)}@{name}"
        attribute = h5py.h5a.open(item.id, name.encode())
        if attribute.shape == (0,):  # an empty list is stored as numbers
            return []
        if attribute.get_type().get_class() != h5py.h5t.STRING or len(attribute.shape) > 1:
            raise self.refusal(where, "not a text, nor a list of texts")
        if attribute.get_storage_size() > limits.HDF5_ATTRIBUTE_BYTES:
            raise self.refusal(where, f"more than {limits.HDF5_ATTRIBUTE_BYTES} bytes")
        values = np.ravel(item.attrs[name])
        return [_text(value) if isinstance(value, bytes) else str(value) for value in values]

    def _remember(self, path: str, address: int) -> None:
        first = self._paths.setdefault(address, path)
        if first != path:
            raise self.refusal(path, f"the same object as {quoted(first)}. Expected each object under one name")
        if len(self._paths) > limits.HDF5_OBJECTS:
            raise self.refusal(path, f"the file holds more than {limits.HDF5_OBJECTS} objects")
        if path.count("/") > limits.HDF5_DEPTH:
            raise self.refusal(path, f"groups are nested more than {limits.HDF5_DEPTH} deep")

    def _stored(self, dataset: h5py.Dataset) -> Stored:
        """Checks that an array's numbers are plain and all there, before anything is allocated."""
        path, creation = path_of(dataset), dataset.id.get_create_plist()
        layout = creation.get_layout()
        # Before the shape is asked for: HDF5 opens a virtual dataset's files to answer.
        if layout == h5py.h5d.VIRTUAL or creation.get_external_count():
            raise self.refusal(path, "its numbers are stored elsewhere. Expected them in this file")
        dtype, shape = self._dtype(dataset), dataset.shape
        if shape is None or len(shape) > limits.HDF5_RANK:
            raise self.refusal(path, f"its shape is {shape}. Expected at most {limits.HDF5_RANK} axes")
        offset = dataset.id.get_offset() if layout == h5py.h5d.CONTIGUOUS else None
        stored = Stored(path, tuple(int(n) for n in shape), dtype.str, offset, self._index)
        if stored.size_bytes > limits.ARRAY_BYTES:
            raise self.refusal(
                path, f"shape {shape} asks for {stored.size_bytes} bytes; {limits.ARRAY_BYTES} are accepted"
            )
        if layout == h5py.h5d.CHUNKED:
            self._check_chunks(dataset, stored)
        else:
            self._check_contiguous(dataset, stored)
        return stored

    def _dtype(self, dataset: h5py.Dataset) -> np.dtype[Any]:
        kind = dataset.id.get_type()
        if kind.get_class() == h5py.h5t.OPAQUE and kind.get_size() == BFLOAT16.itemsize:
            return BFLOAT16  # as NumPy holds them: two bytes that it does not know
        if kind.get_class() not in (h5py.h5t.FLOAT, h5py.h5t.INTEGER):
            raise self.refusal(
                path_of(dataset),
                "its elements are not numbers that NumPy knows, nor bfloat16",
                "Save the model again with Keras in float32.",
            )
        dtype: np.dtype[Any] = np.dtype(dataset.dtype)
        if not h5py.h5t.py_create(dtype).equal(kind):
            raise self.refusal(path_of(dataset), f"its numbers have an uncommon layout, unlike {dtype.str}")
        return dtype

    def _check_contiguous(self, dataset: h5py.Dataset, stored: Stored) -> None:
        size = dataset.id.get_storage_size()
        ends = 0 if stored.offset is None else stored.offset + stored.size_bytes
        if size != stored.size_bytes or ends > self._source.size_bytes:
            raise self.refusal(
                stored.path, f"shape {stored.shape} takes {stored.size_bytes} bytes, but {size} are stored", DAMAGED
            )

    def _check_chunks(self, dataset: h5py.Dataset, stored: Stored) -> None:
        creation, path = dataset.id.get_create_plist(), stored.path
        filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
        if not FILTERS.issuperset(filters) or len(set(filters)) != len(filters):
            raise self.refusal(path, f"compressed by filters {filters}. Expected deflate, shuffle or fletcher32, once")
        chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
        if chunk_bytes > limits.HDF5_CHUNK_BYTES:
            raise self.refusal(path, f"its pieces have {chunk_bytes} bytes; {limits.HDF5_CHUNK_BYTES} are accepted")
        expected = math.prod(-(-n // c) for n, c in zip(stored.shape, dataset.chunks, strict=True))
        if expected > limits.HDF5_CHUNKS:
            raise self.refusal(path, f"stored in more than {limits.HDF5_CHUNKS} pieces")
        count = dataset.id.get_num_chunks()
        if count != expected:
            raise self.refusal(path, f"{count} of {expected} pieces are stored", DAMAGED)
        size = dataset.id.get_storage_size()
        if stored.size_bytes > max(limits.EXPANSION_FREE_BYTES, limits.EXPANSION * size):
            raise self.refusal(path, f"{size} stored bytes unpack to {stored.size_bytes}")


def read_pieces(source: Source, stored: Stored) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Reads an array that HDF5 stores in pieces, by HDF5's own code."""
    with open_tree(source) as tree:
        *groups, name = stored.path.strip("/").split("/")
        group = tree.root
        for part in groups:
            group = tree.group(group, part)
        values = np.empty(stored.shape, stored.dtype)
        dataset = tree.child(group, name)
        dataset.read_direct(values)
        return values


def path_of(item: h5py.Group | h5py.Dataset) -> str:
    """Returns an object's path; h5py's own attribute is bytes where that is no UTF-8."""
    return _text(h5py.h5i.get_name(item.id))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
