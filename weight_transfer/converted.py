"""The converted file: a network's tensors in PyTorch's layout, and all that is known of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.description import Description, Origin, Training
from weight_transfer.errors import CheckpointError, listing
from weight_transfer.fingerprint import Fingerprint
from weight_transfer.graph import Graph
from weight_transfer.layer_types.augmentations import says_nothing
from weight_transfer.module_paths import HEAD, earlier_paths
from weight_transfer.pretrained_folder import config_beside, weights_file
from weight_transfer.tensor_file import Content, Kind, Tensor, TensorFile, open_tensor_file

CONVERTED = Kind(
    name="converted network",
    format=1,
    expected="the output of `weight-transfer convert`, or of save_pretrained with its config.json",
    remedy="Convert the checkpoint again.",
    error=CheckpointError,
)


def converted_content(tensors: Iterable[Tensor], description: Description) -> Content:
    """Returns what goes into a converted file.

    Args:
        tensors: By state-dict key; each is read when its turn comes.
        description: For the metadata.
    """
    return Content(CONVERTED, description.to_dict(), tuple(tensors))


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
    converted_content(tensors, description).write(path, on_written)


@dataclass(frozen=True)
class Converted:
    """A converted file: what it says of itself, and its tensors when they are asked for.

    Attributes:
        file: The file.
        description: What it says of its network.
    """

    file: TensorFile
    description: Description

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.file.path

    @property
    def network(self) -> Graph:
        """What the file holds."""
        return self.description.network

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        return self.description.origin

    @property
    def sha256(self) -> str:
        """The sha256 of the whole file, in hexadecimal."""
        return self.file.sha256

    @functools.cached_property
    def digest(self) -> str:
        """A hash of all that is known of the network, and of its tensors, in hexadecimal.

        It is the same in every file that holds them, wherever they come from.
        """
        origin = (*self.origin.__dict__, "training")  # of which the rule of the moving variances follows
        said = {key: value for key, value in self.description.to_dict().items() if key not in origin}
        said["moving_variance"] = self.description.moving_variance
        found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for name, tensor in sorted(self.stored.items()):
            found.update(f"{name} {tensor.dtype.name} {tensor.shape}".encode())
            found.update(np.ascontiguousarray(tensor.read()).data)
        return found.hexdigest()

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the tensors alone, by which an optimizer's state names the weights that it belongs to."""
        found = Fingerprint()
        for name, tensor in self.stored.items():
            found.add(name, tensor.read())
        return found.value

    @functools.cached_property
    def stored(self) -> Mapping[str, Tensor]:
        """The tensors by state-dict key; each is read when asked for."""
        return {self.renamed.get(name, name): tensor for name, tensor in self.file.tensors.items()}

    @functools.cached_property
    def renamed(self) -> Mapping[str, str]:
        """Today's state-dict keys of the tensors that an earlier version wrote under others, by those."""
        return _present_names(self.file.tensors, self.network)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Reads all tensors, by state-dict key."""
        return {name: tensor.read() for name, tensor in self.stored.items()}


def is_converted(path: str | os.PathLike[str]) -> bool:
    """Whether a file is in the safetensors format, by its first bytes, or a folder holds one of `save_pretrained`."""
    try:
        with weights_file(path).open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000


def read_converted(path: str | os.PathLike[str]) -> Converted:
    """Reads the metadata of a converted file.

    Args:
        path: The file, or a folder that `save_pretrained` wrote.

    Raises:
        CheckpointError: It is no safetensors file, damaged, or one that `weight-transfer convert` did not write.

    Warns:
        UserWarning: It does not say what its augmentation does.
    """
    file = open_tensor_file(weights_file(path), CONVERTED, config_beside)
    converted = Converted(file, file.parsed(_description))
    _warn_of_augmentation(converted.path, converted.network)
    return converted


def _description(facts: Mapping[str, Any]) -> Description:
    found = Description.from_dict(facts)
    rule = facts.get("moving_variance", found.moving_variance)  # in a config that version 0.1.0 wrote
    return found if rule == found.moving_variance else dataclasses.replace(found, training=Training(rule))


def _warn_of_augmentation(path: Path, network: Graph) -> None:
    """Warns of what version 0.1.0 converted and said nothing of: an augmentation that does nothing in training."""
    idle = [name for name, layer in network.layers.items() if says_nothing(layer.class_name, layer.settings)]
    if idle:
        warnings.warn(
            f"{path}: an earlier version converted it, and it does not say what its augmentation does: in training "
            f"these layers do nothing:{listing(idle)}\nConvert the Keras checkpoint again to train with them.",
            UserWarning,
            stacklevel=3,
        )


def _present_names(stored: Collection[str], network: Graph) -> dict[str, str]:
    graph, prefix = network.imported, "" if network.architecture is None else HEAD
    if graph is None:
        return {}
    earlier = earlier_paths({path: layer.fused_activation is not None for path, layer in graph.layers.items()})
    known = [
        (weight.torch, graph.modules[path][0], earlier[path])
        for path, layer in graph.layers.items()
        for weight in layer.weights.values()
    ]
    present = {f"{prefix}{module}.{name}" for name, module, _ in known}
    names = {}
    for name, module, paths in known:
        now = f"{prefix}{module}.{name}"
        held = [key for key in (f"{prefix}{path}.{name}" for path in paths) if key in stored and key not in present]
        if now not in stored and held:
            names[held[0]] = now
    return names
