"""The converted file: safetensors, with everything a reader needs in its metadata.

Written as a stream, one tensor in memory at a time: the safetensors serialiser wants all of them
at once, twice the file's size. The bytes are those that it gives, and its own reader reads them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from weight_transfer.atomic import atomic_write
from weight_transfer.conversion.mapping import with_present_names
from weight_transfer.errors import CheckpointError, listing
from weight_transfer.images import WAYS, Crop, ImageLoading, crop_of
from weight_transfer.layer_types.augmentations import says_nothing
from weight_transfer.network import (
    Network,
    backbone_of,
    constraints_of_graph,
    graph_of,
    network_from_dict,
    network_to_dict,
    regularizers_of_graph,
)
from weight_transfer.precision import Precision
from weight_transfer.preprocessing import Preprocessing, preset
from weight_transfer.published import expected_loading, expected_preprocessing, is_imagenet
from weight_transfer.safetensors_header import safetensors_header
from weight_transfer.version import __version__

METADATA_KEY = "weight_transfer"


MovingVariance = Literal["keras3", "tf_keras", "keras2"]
Generation = Literal["keras3", "tf_keras"]

# By layer, the config of each regularizer by Keras's argument: ``{"conv1": {"kernel_regularizer": {...}}}``.
LayerRegularizers: TypeAlias = Mapping[str, Mapping[str, Any]]
# The same of each constraint: ``{"conv1": {"kernel_constraint": {...}}}``.
LayerConstraints: TypeAlias = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Origin:
    """Where a converted file comes from.

    Attributes:
        source: Name of the Keras file; empty for a network that was made in PyTorch.
        sha256: Of the Keras file.
        container: Which kind of Keras file it was.
        keras_version: What wrote it, as it says itself.
        tool_version: Version of this package.
        backend: On what that Keras ran, where the file says so: ``tensorflow``, ``theano``, ``cntk``.
    """

    source: str
    sha256: str
    container: str
    keras_version: str | None
    tool_version: str
    backend: str | None = None


# Of a network that was made in PyTorch.
MADE_HERE = Origin(source="", sha256="", container="PyTorch", keras_version=None, tool_version=__version__)


@dataclass(frozen=True)
class Training:
    """What a network that was trained in PyTorch knows and a Keras file would not have told.

    Attributes:
        moving_variance: The rule by which its batch norms move their variances; None where it has none.
    """

    moving_variance: MovingVariance | None

    def __post_init__(self) -> None:
        if self.moving_variance not in (None, *get_args(MovingVariance)):
            raise ValueError(f"moving_variance {self.moving_variance!r}")


@dataclass(frozen=True)
class Description:
    """All that is known of a network beside its tensors: what a converted file says, and a loaded module remembers.

    Attributes:
        network: What the tensors belong to.
        origin: Where it comes from.
        said_preprocessing: What is done to the network's images, where its training or a person says it.
        image_loading: How the network's images were loaded; None is not known.
        crop: What was cut out of their centre.
        training: Of tensors that were trained in PyTorch; None of those that are the Keras file's.
        regularizers: From the Keras model's config, by layer and argument; an imported graph's included.
        constraints: The same of what a weight must be after each step of the optimizer.
        precision: In what the network computes, and in what the Keras model did.
        compiled: ``loss`` and ``loss_weights``, as Keras serialized them; empty where the file says nothing of them.
        remarks: What the port has otherwise than its file or its owner's Keras, in sentences.
        frozen: Keras layers that do not learn (``trainable=False``), batch norms among them in inference mode.
    """

    network: Network
    origin: Origin
    said_preprocessing: Preprocessing | None = None
    image_loading: ImageLoading | None = None
    crop: Crop = None
    training: Training | None = None
    regularizers: LayerRegularizers = field(default_factory=dict)
    constraints: LayerConstraints = field(default_factory=dict)
    precision: Precision = field(default_factory=Precision)
    compiled: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, of_graph in _OF_GRAPH.items():
            object.__setattr__(self, name, {**getattr(self, name), **of_graph(self.network)})

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to the network's images, and how certain that is."""
        return self.said_preprocessing or expected_preprocessing(self.network, self.training is not None)

    @property
    def preprocessing_text(self) -> str:
        """The same in words; what a person says beside layers of preprocessing is done before them."""
        text = self.preprocessing.text
        inside = expected_preprocessing(self.network).certainty == "inside the network"
        if inside and self.preprocessing.certainty == "known":
            text += "; the network's own first layers do theirs after it"
        return text

    @property
    def loading(self) -> ImageLoading:
        """How the network's images are loaded: what is known, or a guess."""
        return self.image_loading or expected_loading(self.network)

    def input_as_dict(self) -> dict[str, Any]:
        """How images become what the network takes, as JSON can hold it."""
        how = self.preprocessing
        return {
            "preprocessing": {"name": how.name, **how.to_dict()},
            "image_loading": self.image_loading,
            "crop": self.crop,
        }

    @property
    def is_imagenet(self) -> bool:
        """Whether its classes are known to be ImageNet's."""
        return self.training is None and is_imagenet(self.network)

    @property
    def moving_variance(self) -> MovingVariance:
        """The rule by which the network's batch norms move their variances."""
        known = None if self.training is None else self.training.moving_variance
        rule = moving_variance_of(self.origin.keras_version, self.origin.backend)
        if rule == "tf_keras" and self.precision.dtype == "float64":
            rule = "keras3"  # there tf_keras has no fused kernel
        return known or rule

    def to_dict(self) -> dict[str, Any]:
        """Returns the description as JSON can hold it; what an imported graph says itself stands in the graph alone."""
        values = {
            **network_to_dict(self.network),
            **self.origin.__dict__,
            "preprocessing": None if self.said_preprocessing is None else self.said_preprocessing.to_dict(),
            "image_loading": self.image_loading,
            "crop": self.crop,
            "training": None if self.training is None else self.training.__dict__,
            "precision": None if self.precision == Precision() else self.precision.__dict__,
            "compiled": self.compiled or None,
            "remarks": list(self.remarks) or None,
            **{name: self._beside_graph(name) or None for name in _OF_GRAPH},
            "frozen": list(self.frozen) or None,
        }
        return {name: value for name, value in values.items() if value is not None or name in _ORIGIN}

    def _beside_graph(self, name: str) -> dict[str, Any]:
        own = _OF_GRAPH[name](self.network)
        return {layer: held for layer, held in getattr(self, name).items() if layer not in own}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Description:
        """Builds a description from what `to_dict` gave; a field that an earlier version did not write is absent.

        Raises:
            ValueError: A field has an impossible value; a KeyError or TypeError says the same of its form.
        """
        network = network_from_dict(values)
        image_loading = values.get("image_loading")
        if image_loading not in (None, *WAYS):
            raise ValueError(f"image_loading {image_loading!r}")
        frozen = values.get("frozen", [])
        if not isinstance(frozen, list) or not all(isinstance(layer, str) for layer in frozen):
            raise ValueError(f"frozen {frozen!r}")
        return cls(
            network=network,
            origin=Origin(**{name: values[name] for name in _ORIGIN}, backend=values.get("backend")),
            said_preprocessing=_said_preprocessing(values.get("preprocessing"), network),
            image_loading=image_loading,
            crop=crop_of(values.get("crop")),
            training=Training(**values["training"]) if "training" in values else None,
            precision=Precision(**values.get("precision", {})),
            compiled=dict(values.get("compiled", {})),
            remarks=tuple(map(str, values.get("remarks", ()))),
            **{name: _by_layer(values, name) for name in _OF_GRAPH},
            frozen=tuple(frozen),
        )


def _said_preprocessing(value: Any, network: Network) -> Preprocessing | None:
    """What a file says of it; files of version 0.1 hold a preset's name, a person's or a default that nobody said."""
    if value is None or isinstance(value, Mapping):
        return None if value is None else Preprocessing.from_dict(value)
    found, default = preset(value), "none" if backbone_of(network) is None else expected_preprocessing(network).name
    return None if found.name == default else found


_ORIGIN = tuple(name for name in Origin.__dataclass_fields__ if name != "backend")  # what every file says
# By field, what an imported graph says of it itself.
_OF_GRAPH: Mapping[str, Callable[[Network], Mapping[str, Any]]] = {
    "regularizers": regularizers_of_graph,
    "constraints": constraints_of_graph,
}


def _by_layer(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(held, dict) for held in found.values()):
        raise ValueError(f"{name} {found!r}")
    return found


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
        return with_present_names(found, self.network)


def generation_of(keras_version: str | None) -> Generation:
    """Returns by whose rules a network trains that this Keras wrote; Keras 3's where the version is not known."""
    return "tf_keras" if (keras_version or "3").partition(".")[0] in ("0", "1", "2") else "keras3"


# Of the Keras of several backends, from when on its batch norms moved their variances by which rule.
# Source: keras/layers/normalization.py and keras/backend/tensorflow_backend.py of 1.2.2, 2.0.8, 2.0.9, 2.1.0 to 2.1.6,
# 2.2.4, 2.2.5, 2.3.0 and 2.3.1.
_OF_SEVERAL_BACKENDS: tuple[tuple[tuple[int, ...], MovingVariance], ...] = (
    ((2, 4), "tf_keras"),
    ((2, 1, 4), "keras2"),
    ((2, 1, 3), "tf_keras"),
    ((0,), "keras3"),
)


def moving_variance_of(keras_version: str | None, backend: str | None = None) -> MovingVariance:
    """Returns the rule by which this Keras moves its variances; Keras 3's where the version is not known.

    Args:
        keras_version: As the file says it; ``-tf`` at its end is TensorFlow's own.
        backend: On which it ran. On CNTK no variance is corrected.
    """
    generation = generation_of(keras_version)
    if generation == "keras3" or "-tf" in (keras_version or ""):
        return generation
    numbers = tuple(int(part) for part in re.findall(r"\d+", keras_version or "")[:3])
    rule = next((rule for first, rule in _OF_SEVERAL_BACKENDS if numbers >= first), generation)
    return "keras3" if rule == "keras2" and backend == "cntk" else rule


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
