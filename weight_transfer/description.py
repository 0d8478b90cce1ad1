"""All that is known of a network beside its tensors: where it comes from, its images, how it trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from weight_transfer.graph import Graph
from weight_transfer.graph.precision import Precision
from weight_transfer.images import WAYS, Crop, ImageLoading, crop_of
from weight_transfer.preprocessing import Preprocessing, preset
from weight_transfer.published import expected_loading, expected_preprocessing, is_imagenet
from weight_transfer.resnet.layout import network_from_dict, network_to_dict
from weight_transfer.version import __version__

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
        compiled: How the Keras model was compiled, as Keras serialized it: loss, metrics, optimizer; empty where the
            file says nothing of it.
        remarks: What the port has otherwise than its file or its owner's Keras, in sentences.
        frozen: Keras layers that do not learn (``trainable=False``), batch norms among them in inference mode.
        keras_config: The Keras model's whole config, as its file has it; what is written back to Keras.
    """

    network: Graph
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
    keras_config: Mapping[str, Any] | None = None

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
    def compiled_loss(self) -> dict[str, Any]:
        """The loss and the loss weights with which the Keras model was compiled, where the file says them."""
        said = {key: self.compiled.get(key) for key in ("loss", "loss_weights")}
        return {key: value for key, value in said.items() if value is not None}

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
            "keras_config": self.keras_config,
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
            keras_config=_mapping_or_none(values, "keras_config"),
        )


def _said_preprocessing(value: Any, network: Graph) -> Preprocessing | None:
    """What a file says of it; files of version 0.1 hold a preset's name, a person's or a default that nobody said."""
    if value is None or isinstance(value, Mapping):
        return None if value is None else Preprocessing.from_dict(value)
    found, default = preset(value), "none" if network.architecture is None else expected_preprocessing(network).name
    return None if found.name == default else found


_ORIGIN = tuple(name for name in Origin.__dataclass_fields__ if name != "backend")  # what every file says
# By field, what an imported graph says of it itself.
_OF_GRAPH: Mapping[str, Callable[[Graph], Mapping[str, Any]]] = {
    "regularizers": lambda network: network.regularizers,
    "constraints": lambda network: network.constraints,
}


def _mapping_or_none(values: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    found = values.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is no JSON object")
    return found


def _by_layer(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(held, dict) for held in found.values()):
        raise ValueError(f"{name} {found!r}")
    return found


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
