"""The converted file: safetensors, with everything a reader needs in its metadata.

Written as a stream, one tensor in memory at a time: the safetensors serialiser wants all of them
at once, twice the file's size. The bytes are those that it gives, and its own reader reads them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from weight_transfer.atomic import atomic_write
from weight_transfer.description import Description, Origin
from weight_transfer.errors import CheckpointError, listing
from weight_transfer.layer_types.augmentations import says_nothing
from weight_transfer.module_paths import HEAD, path_in_0_1_0
from weight_transfer.network import Network, backbone_of, graph_of, network_to_dict
from weight_transfer.safetensors_header import safetensors_header

METADATA_KEY = "weight_transfer"


@dataclass(frozen=True)
class Tensor:
    """A tensor to write: what it is, and how to get it when its turn comes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """Size of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_converted(
    path: str | os.PathLike[str],
    tensors: Iterable[Tensor],
    description: Description,
    on_written: Callable[[int], None] | None = None,
) -> None:
    """Writes a converted file atomically.

    Args:
        path: The output.
        tensors: What to write; each is read when its turn comes.
        description: For the metadata.
        on_written: Called with each tensor's size in bytes, for a progress bar.

    Raises:
        TransferError: The output cannot be written.
    """
    written = ToWrite(tuple(tensors), description)
    with atomic_write(path, size_bytes=written.size_bytes) as temporary:
        fill_converted(temporary, written, on_written)


@dataclass(frozen=True)
class ToWrite:
    """What goes into a converted file; the arguments of `write_converted`."""

    tensors: tuple[Tensor, ...]
    description: Description

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.header) + sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def ordered(self) -> list[Tensor]:
        """In the serialiser's own order: wide types first, then by name, so that all data is aligned."""
        return sorted(self.tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))

    @property
    def header(self) -> bytes:
        """What stands before the first tensor."""
        return safetensors_header(
            ((tensor.name, tensor.dtype, tensor.shape) for tensor in self.ordered),
            {METADATA_KEY: json.dumps(self.description.to_dict(), sort_keys=True), "format": "pt"},
        )


def fill_converted(path: Path, written: ToWrite, on_written: Callable[[int], None] | None = None) -> None:
    """Writes a converted file to a temporary one; each tensor is read when its turn comes."""
    with path.open("wb") as file:
        file.write(written.header)
        for tensor in written.ordered:
            file.write(np.ascontiguousarray(tensor.read()).data.cast("B"))
            if on_written is not None:
                on_written(tensor.size_bytes)


@dataclass(frozen=True)
class Converted:
    """A converted file: what it says of itself, and its tensors when they are asked for.

    Attributes:
        path: The file.
        description: What it says of its network.
    """

    path: Path
    description: Description

    @property
    def network(self) -> Network:
        """What the file holds."""
        return self.description.network

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        return self.description.origin

    @property
    def sha256(self) -> str:
        """Of the file."""
        with self.path.open("rb") as file:
            found = hashlib.sha256()
            while piece := file.read(1 << 20):
                found.update(piece)
            return found.hexdigest()

    @property
    def digest(self) -> str:
        """Of the network and the tensors, in hexadecimal: the same in every file that holds them."""
        found = hashlib.sha256(json.dumps(network_to_dict(self.description.network), sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            found.update(f"{name} {tensor.dtype.name} {tensor.shape}".encode())
            found.update(np.ascontiguousarray(tensor).data)
        return found.hexdigest()

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Reads all tensors, by state-dict key."""
        with safe_open(self.path, framework="np") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        names = _present_names(set(found), self.network)
        return {names.get(name, name): tensor for name, tensor in found.items()}


def is_converted(path: str | os.PathLike[str]) -> bool:
    """Whether a file is in the safetensors format, by its first bytes."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000


def read_converted(path: str | os.PathLike[str]) -> Converted:
    """Reads the metadata of a converted file.

    Raises:
        CheckpointError: It is no safetensors file, or one that this package did not write.
        ArchitectureError: Its network is not described as one.

    Warns:
        UserWarning: It does not say what its augmentation does.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from error
    if metadata is None:
        raise CheckpointError(
            f"{path}: a safetensors file without this package's metadata. Expected the output of "
            "`weight-transfer convert`."
        )
    try:
        description = Description.from_dict(json.loads(metadata))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its metadata is damaged ({error}). Convert the checkpoint again.") from error
    _warn_of_augmentation(path, description.network)
    return Converted(path, description)


def _warn_of_augmentation(path: Path, network: Network) -> None:
    """Warns of what version 0.1.0 converted and said nothing of: an augmentation that does nothing in training."""
    graph = graph_of(network)
    layers = {} if graph is None else graph.layers
    idle = [name for name, layer in layers.items() if says_nothing(layer.class_name, layer.settings)]
    if idle:
        warnings.warn(
            f"{path}: an earlier version converted it, and it does not say what its augmentation does: in training "
            f"these layers do nothing:{listing(idle)}\nConvert the Keras checkpoint again to train with them.",
            UserWarning,
            stacklevel=3,
        )


def _present_names(stored: Collection[str], network: Network) -> dict[str, str]:
    """Returns today's state-dict keys of the tensors that version 0.1.0 wrote under others, by those.

    Args:
        stored: The names in the file.
        network: What the file holds.
    """
    graph, prefix = graph_of(network), "" if backbone_of(network) is None else HEAD
    if graph is None:
        return {}
    known = [
        (path, graph.modules[path][0], weight.torch)
        for path, layer in graph.layers.items()
        for weight in layer.weights.values()
    ]
    present = {f"{prefix}{module}.{name}" for _, module, name in known}
    names = {}
    for path, module, name in known:
        now, earlier = f"{prefix}{module}.{name}", f"{prefix}{path_in_0_1_0(path)}.{name}"
        if now not in stored and earlier not in present:
            names[earlier] = now
    return names
