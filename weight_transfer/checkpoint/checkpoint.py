"""A Keras checkpoint as named arrays, read on demand."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from weight_transfer.checkpoint.hdf5 import BFLOAT16, Stored, read_pieces
from weight_transfer.checkpoint.keras_zip import open_archive
from weight_transfer.checkpoint.kernel_layout import KernelLayout, kernel_layouts
from weight_transfer.checkpoint.parsing import Container, Index, Outer, parse, parse_optimizer
from weight_transfer.checkpoint.sharded import open_shards
from weight_transfer.checkpoint.sniff import kind_of
from weight_transfer.checkpoint.source import Source, open_source, sha256
from weight_transfer.errors import CheckpointError, nearest, quoted

NDArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Array:
    """One array of a checkpoint.

    Attributes:
        name: ``layer/role``, the names of nested models before it: ``resnet50/conv1/kernel``.
        shape: In Keras's layout: kernels (kh, kw, c_in, c_out) or (c_in, c_out).
        dtype: In this machine's byte order; float32 where the file holds bfloat16.
        layout: Of a kernel that the file holds otherwise; None where it is stored as it is read.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _stored: Stored = field(repr=False)
    _source: Source = field(repr=False)
    layout: KernelLayout | None = None

    def laid_out(self, layout: KernelLayout | None) -> Array:
        """Returns the same array, which the file is now known to hold in this layout."""
        shape = self._stored.shape if layout is None else layout.shape(self._stored.shape)
        return dataclasses.replace(self, shape=shape, layout=layout)

    @property
    def place(self) -> tuple[int, str]:
        """Where in the file it is: the same whatever it is named by."""
        return self._stored.source, self._stored.path

    def read(self) -> NDArray:
        """Reads the numbers into an array of its own, which may be changed.

        Raises:
            CheckpointError: The file is damaged, or was cut while it was open.
        """
        stored, source = self._stored, self._source
        if stored.offset is None:
            values = read_pieces(source, stored)
        else:
            content = source.read(stored.offset, stored.size_bytes)
            values = np.frombuffer(content, stored.dtype).reshape(stored.shape)
        if values.dtype == BFLOAT16:  # the upper half of the float32 of the same value
            values = (values.view("<u2").astype(np.uint32) << 16).view(np.float32)
        values = values.astype(self.dtype, copy=False)
        return values if self.layout is None else np.ascontiguousarray(self.layout.laid_out(values))


@dataclass(frozen=True)
class SavedOptimizer:
    """An optimizer's variables as a file holds them.

    Attributes:
        name: The optimizer's own name (``adam``), where the file says so.
        arrays: In the optimizer's order; their names are Keras's (``adam/conv1_kernel_momentum``) or numbers.
        wrapped: Whether it is a ``LossScaleOptimizer`` around another one, where the file shows it.
    """

    name: str | None
    arrays: tuple[Array, ...]
    wrapped: bool = False


class Checkpoint:
    """An open checkpoint; a context manager.

    Attributes:
        path: The file that was given.
        container: Its layout.
        keras_version: What wrote it, where the file says so.
        backend: What that ran on, where the file says so.
        config: The model's config as the file holds it (``{"class_name": ..., "config": ...}``), or None.
        training: How the model was compiled, where the file says so: loss and optimizer.
        arrays: Every array by name.
        layer_names: Every layer of the outermost model that the weights mention, those without arrays
            too. Keras 1 and 2 list all of ``model.layers`` in order, by name; Keras 3 counts them by
            class (``re_lu_7``), in no order.
        groups: Keras 3's group (``re_lu_7``) and the name of every layer, those of nested models too; the group's
            again where the file holds no names.
        skipped: Groups that hold no weights of the model, such as the optimizer's.
        names_are_counters: Whether layers are only counted (``conv2d_7``), because the file holds no names.
        size_bytes: Of the file, or of index and shards.
        variables: What Keras called the variable of each array, where the file says so.
    """

    def __init__(self, path: Path, index: Index, files: Sequence[Source], sources: Sequence[Source]) -> None:
        self.path = path
        self.container: Container = index.container
        self.keras_version = index.keras_version
        self.backend = index.backend
        self.config = index.config
        self.training = index.training
        layouts = kernel_layouts(
            {name: stored.shape for name, stored in index.arrays.items()}, index.config, index.backend
        )
        self.arrays: Mapping[str, Array] = {
            name: _array(name, stored, sources).laid_out(layouts.get(name)) for name, stored in index.arrays.items()
        }
        self.layer_names = index.layer_names
        self.groups = index.groups
        self.skipped = index.skipped
        self.names_are_counters = index.names_are_counters
        self.size_bytes = sum(file.size_bytes for file in files)
        self.variables = index.variables
        self._files, self._sources = files, sources

    @functools.cached_property
    def optimizer(self) -> SavedOptimizer | None:
        """The optimizer's variables; None where the file holds none. Read when first asked for.

        Raises:
            CheckpointError: They are damaged; the weights may be sound all the same.
        """
        index = parse_optimizer(self._sources, self.container)
        if index is None:
            return None
        arrays = tuple(_array(name, stored, self._sources) for name, stored in index.arrays)
        return SavedOptimizer(index.name, arrays, index.wrapped)

    def named_by(self, config: Mapping[str, Any]) -> Checkpoint:
        """Returns the same weights, named by a config of their model as Keras pairs them: by counting each class.

        Args:
            config: The model's (``{"class_name": ..., "config": ...}``).

        Raises:
            CheckpointError: The groups are not those of that model.
        """
        index = parse(self._sources, Outer(self.container, config=dict(config), counted=True))
        named = Checkpoint(self.path, dataclasses.replace(index, config=self.config), self._files, self._sources)
        named.keras_version, named.training = self.keras_version, self.training
        return named

    def laid_out_by(self, config: Mapping[str, Any]) -> Checkpoint:
        """Returns the same weights, kernels in the order that a config of their model says they have in the file."""
        layouts = kernel_layouts(
            {name: array._stored.shape for name, array in self.arrays.items()}, config, self.backend
        )
        laid_out = copy.copy(self)
        laid_out.arrays = {name: array.laid_out(layouts.get(name)) for name, array in self.arrays.items()}
        return laid_out

    @property
    def kernel_layouts(self) -> Mapping[str, KernelLayout]:
        """The layout of every kernel that the file holds otherwise than today's files do."""
        return {name: array.layout for name, array in self.arrays.items() if array.layout is not None}

    def with_names(self, names: Mapping[str, str]) -> Checkpoint:
        """Returns the same weights under other names.

        Args:
            names: The name of an array here by its new one; each array once.
        """
        named = copy.copy(self)
        named.arrays = {new: self.arrays[name] for new, name in names.items()}
        named.names_are_counters = False
        return named

    @functools.cached_property
    def sha256(self) -> str:
        """Of the file's bytes; of sharded weights, of the index and then the shards by name."""
        return sha256(self._files)

    def __getitem__(self, name: str) -> NDArray:
        if name not in self.arrays:
            raise CheckpointError(
                f"{quoted(self.path)}: no array is named {quoted(name)}{nearest(name, list(self.arrays))}. "
                "Expected one of `checkpoint.arrays`."
            )
        return self.arrays[name].read()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; arrays that were read stay."""
        for file in self._files:
            file.close()


def _array(name: str, stored: Stored, sources: Sequence[Source]) -> Array:
    held = np.dtype(stored.dtype)
    dtype = np.dtype(np.float32) if held == BFLOAT16 else held.newbyteorder("=")
    return Array(name, stored.shape, dtype, stored, sources[stored.source])


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a Keras checkpoint of any container, told by its content; loads no framework.

    Reads names, shapes and the config; numbers are read when asked for.

    Example:
        >>> with read_checkpoint("resnet50.h5") as checkpoint:
        ...     kernel = checkpoint["conv1/kernel"]

    Args:
        path: A .h5, .hdf5, .keras, .weights.h5 or .weights.json file, whatever its name.

    Raises:
        CheckpointError: It is no Keras checkpoint, or not a sound one.
    """
    path = Path(path)
    file = open_source(path)
    files, sources, outer = [file], [file], None
    kind = kind_of(file)
    if kind == "zip":
        weights, outer = open_archive(file)
        sources = [weights]
    elif kind == "json":
        sources, outer = open_shards(path, file)
        files = [file, *sources]
    return Checkpoint(path, parse(sources, outer), files, sources)
