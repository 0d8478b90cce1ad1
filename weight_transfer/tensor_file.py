"""A file of tensors: safetensors, with metadata that say what kind of file it is and in which form.

Ports, optimizers' states, recordings and input batches are all written and read here. Beside its tensors a file holds
JSON under one key: its ``kind``, its ``format``, and what else there is to say. It is written as a stream, one tensor
in memory at a time (the safetensors serialiser wants all of them at once, twice the file's size), and read alike. The
bytes are those that the serialiser gives, and its own reader reads them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from weight_transfer.atomic import atomic_write
from weight_transfer.errors import TransferError, quoted

METADATA_KEY = "weight_transfer"
# Version 0.1.0 wrote neither kind nor format, and each kind under a key of its own.
KINDS_OF_0_1_0: Mapping[str, str] = {
    METADATA_KEY: "converted network",
    "weight_transfer_optimizer": "optimizer state",
    "weight_transfer_recording": "recording",
}
# By NumPy's name, safetensors' own, in the order of its serialiser, which puts the last first: so all data is aligned.
# Source: enum Dtype and fn prepare in safetensors/src/tensor.rs; the tests compare with the installed version.
DTYPES: Mapping[str, str] = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
ALIGNMENT = 8
LENGTH_SIZE = 8  # bytes of the number that the file begins with: the length of the header behind it
HASHED_BYTES = 1 << 20  # read at a time
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what metadata of another form lead to

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Kind:
    """What a file of tensors is for.

    Attributes:
        name: What the file says that it is, and messages call it.
        format: The version of the form that its metadata have.
        expected: For messages, which file to name instead of one that is of another kind.
        remedy: For messages, what to do about a damaged file.
        error: The class of what is raised about such a file.
    """

    name: str
    format: int
    expected: str
    remedy: str
    error: type[TransferError]


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, or one to be written: what it is, and how to get it when its turn comes.

    Attributes:
        name: Its name in the file.
        dtype: The type of its elements, one of `DTYPES`.
        shape: Its shape; a network's tensors have PyTorch's layout.
        read: Returns the whole tensor.
        pieces: Yields its elements in their order, where it is too large for memory; the writer then calls this alone.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]
    pieces: Callable[[], Iterator[npt.NDArray[Any]]] | None = None

    @classmethod
    def of(cls, name: str, array: npt.NDArray[Any]) -> Tensor:
        """Returns an array in memory as a tensor."""
        return cls(name, array.dtype, array.shape, lambda: array)

    @property
    def size_bytes(self) -> int:
        """The size of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Content:
    """What goes into a file.

    Attributes:
        kind: What the file is for.
        facts: What its metadata say beside its kind and format, as JSON can hold it.
        tensors: What it holds; each tensor is read when its turn comes.
    """

    kind: Kind
    facts: Mapping[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the whole file."""
        return len(self.header) + sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def ordered(self) -> list[Tensor]:
        """The tensors in the order of their data."""
        rank = list(DTYPES)
        return sorted(self.tensors, key=lambda tensor: (-rank.index(tensor.dtype.name), tensor.name))

    @functools.cached_property
    def header(self) -> bytes:
        """The bytes before the first tensor's."""
        facts = {"kind": self.kind.name, "format": self.kind.format, **self.facts}
        entries: dict[str, Any] = {"__metadata__": {METADATA_KEY: _compact(facts), "format": "pt"}}
        offset = 0
        for tensor in self.ordered:
            end = offset + tensor.size_bytes
            dtype = DTYPES[tensor.dtype.name]
            entries[tensor.name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
            offset = end
        text = _compact(entries).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return len(text).to_bytes(LENGTH_SIZE, "little") + text

    def write(self, path: str | os.PathLike[str], on_written: Callable[[int], None] | None = None) -> None:
        """Writes the file atomically.

        Args:
            path: The output.
            on_written: Called with each tensor's size in bytes, for a progress bar.

        Raises:
            TransferError: The output cannot be written.
        """
        with atomic_write(path, size_bytes=self.size_bytes) as temporary:
            self.fill(temporary, on_written)

    def fill(self, temporary: Path, on_written: Callable[[int], None] | None = None) -> None:
        """Writes into a temporary file, for a caller that gives it its name later.

        Args:
            temporary: A file that exists.
            on_written: Called with each tensor's size in bytes.

        Raises:
            TransferError: A tensor is not what its header says.
        """
        with temporary.open("wb") as file:
            file.write(self.header)
            for tensor in self.ordered:
                start = file.tell()
                for piece in (tensor.read(),) if tensor.pieces is None else tensor.pieces():
                    little = piece.astype(tensor.dtype.newbyteorder("<"), casting="equiv", copy=False)
                    file.write(np.ascontiguousarray(little).data)
                if file.tell() - start != tensor.size_bytes:
                    raise TransferError(
                        f"{tensor.name}: expected {tensor.size_bytes:,} bytes, read {file.tell() - start:,}. "
                        "Its file changed while it was read; try again."
                    )
                if on_written is not None:
                    on_written(tensor.size_bytes)


def _compact(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


@dataclass(frozen=True)
class TensorFile:
    """A file that was opened.

    Attributes:
        path: Where it lies.
        kind: What it is for.
        facts: What its metadata say beside its kind and format.
        tensors: Its tensors by name; each is read when asked for.
        offsets: For each tensor, the place in the file where its data begin.
    """

    path: Path
    kind: Kind
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    offsets: Mapping[str, int] = field(repr=False)

    @functools.cached_property
    def sha256(self) -> str:
        """The sha256 of the whole file in hexadecimal, which is read for it once."""
        found = hashlib.sha256()
        with self.path.open("rb") as file:
            while piece := file.read(HASHED_BYTES):
                found.update(piece)
        return found.hexdigest()

    def elements(self, name: str, start: int, count: int) -> npt.NDArray[Any]:
        """Reads some of a tensor's elements.

        Args:
            name: The tensor.
            start: The number of the first element to read, in the order in which they lie in the file.
            count: How many elements to read.

        Raises:
            TransferError: The file is no longer what it was when it was opened; it is of the kind's class.
        """
        dtype = self.tensors[name].dtype
        return _elements(self.path, self.kind, dtype, self.offsets[name] + start * dtype.itemsize, count)

    def parsed(self, parse: Callable[[Mapping[str, Any]], Parsed]) -> Parsed:
        """Returns what a function makes of the facts.

        Args:
            parse: Raises a ValueError, KeyError, TypeError or AttributeError where they are not as they must be.

        Raises:
            TransferError: They are damaged; it is of the kind's class.
        """
        try:
            return parse(self.facts)
        except self.kind.error:
            raise
        except DAMAGED as error:
            raise _damaged(self.path, self.kind, error) from error


def open_tensor_file(
    path: str | os.PathLike[str],
    kind: Kind,
    beside: Callable[[Path], Mapping[str, Any] | None] = lambda path: None,
) -> TensorFile:
    """Opens a file of tensors: its header is read, and no tensor.

    Args:
        path: The file.
        kind: What it must be.
        beside: Returns the facts of a file that says nothing itself, from what lies beside it, or None.

    Raises:
        TransferError: It is no safetensors file, damaged, or of another kind or format; it is of the kind's class.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="np") as checked:  # it checks all lengths and offsets
            metadata = checked.metadata() or {}
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_SIZE), "little")
            entries = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise kind.error(f"{path}: not a readable safetensors file ({quoted(error)}). {kind.remedy}") from error
    facts = _facts(path, kind, metadata, beside)
    entries.pop("__metadata__", None)
    offsets = {name: LENGTH_SIZE + length + entry["data_offsets"][0] for name, entry in entries.items()}
    tensors = {name: _tensor(path, kind, name, entry, offsets[name]) for name, entry in entries.items()}
    return TensorFile(path, kind, facts, tensors, offsets)


def _facts(
    path: Path, kind: Kind, metadata: Mapping[str, str], beside: Callable[[Path], Mapping[str, Any] | None]
) -> Mapping[str, Any]:
    key = next((key for key in KINDS_OF_0_1_0 if key in metadata), None)
    if key is None:
        told = beside(path)
        if told is not None:
            return told
        raise kind.error(f"{path}: holds no {kind.name}. Expected {kind.expected}.")
    try:
        facts: dict[str, Any] = json.loads(metadata[key])
        if "kind" in facts:
            found, version = facts.pop("kind"), facts.pop("format")
        else:
            found, version = KINDS_OF_0_1_0[key], facts.pop("format", 1)
    except DAMAGED as error:
        raise _damaged(path, kind, error) from error
    if found != kind.name:
        raise kind.error(f"{path}: holds no {kind.name} (its kind is {quoted(found)}). Expected {kind.expected}.")
    if version != kind.format:
        raise kind.error(f"{path}: its format is {quoted(version)}, expected {kind.format}. {kind.remedy}")
    return facts


def _damaged(path: Path, kind: Kind, error: Exception) -> TransferError:
    return kind.error(f"{path}: its metadata is damaged ({quoted(error)}). {kind.remedy}")


def _tensor(path: Path, kind: Kind, name: str, entry: Mapping[str, Any], offset: int) -> Tensor:
    known = next((known for known, stored in DTYPES.items() if stored == entry["dtype"]), None)
    if known is None:
        expected = ", ".join(DTYPES.values())
        raise kind.error(f"{path}: {quoted(name)} is of type {entry['dtype']}. Expected one of {expected}.")
    dtype, shape = np.dtype(known), tuple(entry["shape"])

    def read() -> npt.NDArray[Any]:
        return _elements(path, kind, dtype, offset, math.prod(shape)).reshape(shape)

    return Tensor(name, dtype, shape, read)


def _elements(path: Path, kind: Kind, dtype: np.dtype[Any], offset: int, count: int) -> npt.NDArray[Any]:
    try:
        found = np.fromfile(path, dtype.newbyteorder("<"), count, offset=offset)
    except OSError as error:
        raise kind.error(f"{path}: it can no longer be read ({error.strerror or error}). {kind.remedy}") from error
    if found.size != count:
        raise kind.error(f"{path}: cut short after it was opened. {kind.remedy}")
    return found
