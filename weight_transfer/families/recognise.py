"""Which family's network a weights-only file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.errors import ArchitectureError
from weight_transfer.families.alpha_zero import ALPHA_ZERO
from weight_transfer.families.array_matches import Arrays, match
from weight_transfer.families.builder import Config
from weight_transfer.families.cifar_example import CIFAR_V1, CIFAR_V2
from weight_transfer.families.cifar_preact import CIFAR_10_CNN_RESNET, ONE_PIXEL_ATTACK
from weight_transfer.families.classification_models import CLASSIFICATION_MODELS
from weight_transfer.families.cnn_finetune import CNN_FINETUNE
from weight_transfer.families.family import Candidate, Family
from weight_transfer.families.keras_hub import KERAS_HUB
from weight_transfer.families.mlperf_tiny import MLPERF_TINY
from weight_transfer.families.needed import expected_of, needed_arrays
from weight_transfer.families.resnet_v2 import RESNET_V2
from weight_transfer.graph import read_graph
from weight_transfer.layer_list import layer_list_of

# In the order in which they are tried: where two write down the same network, the first is named.
FAMILIES: Mapping[str, Family] = {
    family.key: family
    for family in (
        MLPERF_TINY,
        CIFAR_V1,
        CIFAR_V2,
        ONE_PIXEL_ATTACK,
        CIFAR_10_CNN_RESNET,
        RESNET_V2,
        KERAS_HUB,
        CLASSIFICATION_MODELS,
        CNN_FINETUNE,
        ALPHA_ZERO,
    )
}


@dataclass(frozen=True)
class Recognised:
    """A network that a file's names and shapes fit.

    Attributes:
        family: Key of `FAMILIES`.
        title: Family, depth and widths in words.
        config: The network, as Keras's ``{"class_name": "Functional", "config": ...}``.
        names: The file's name of every array by the config's ``layer/role``.
    """

    family: str
    title: str
    config: Config
    names: Mapping[str, str]


def recognise(checkpoint: Checkpoint) -> list[Recognised]:
    """Finds every known network of which a file holds exactly the arrays, each in its shape.

    Example:
        >>> with read_checkpoint("resnet20.weights.h5") as checkpoint:
        ...     found = recognise(checkpoint)

    Args:
        checkpoint: Any; of one with a config the names and shapes are read all the same.

    Returns:
        None, one, or several networks that compute different things; a network that two families
        share is listed once.
    """
    arrays, listed = Arrays.of(checkpoint), layer_list_of(checkpoint)
    found: list[Recognised] = []
    for family, (title, config) in _candidates(arrays):
        try:
            keras = read_graph(config)
            needed = needed_arrays(keras)
        except ArchitectureError:  # shapes of which no network can be made
            continue
        matched = match(arrays, needed)
        if matched.problems:
            continue
        possible = listed is None or not listed.differences(expected_of(keras, needed, matched.layers, listed))
        known = any(other.config == config and other.names == matched.names for other in found)
        if possible and not known:
            found.append(Recognised(family.key, title, config, matched.names))
    return found


def _candidates(arrays: Arrays) -> Iterator[tuple[Family, Candidate]]:
    for family in FAMILIES.values():
        for candidate in family.candidates(arrays):
            yield family, candidate
