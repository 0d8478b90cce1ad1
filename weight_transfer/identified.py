"""What `identify` found in a checkpoint, and why it may not be what a ResNet would be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weight_transfer.checkpoint import Array
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph
from weight_transfer.graph.precision import Precision

NO_LIST = "activations and pooling: the file lists only layers with arrays"


@dataclass(frozen=True)
class Identified:
    """A checkpoint's network, and its arrays under that network's names.

    Attributes:
        network: What the file holds.
        arrays: The file's arrays by ``layer/role`` of the network.
        assumed: What the file does not show and a dialect, a family or a person supplied, in words.
        config: The Keras model's config, from the file or from beside it, where there is one.
        keras: The graph in that config.
        own_config: The same, but None where a family supplied it: then its order of layers is not the file's.
        precision: In what the network computes.
        remarks: What the port has otherwise than the file or its owner's Keras, in sentences.
    """

    network: Graph
    arrays: Mapping[str, Array]
    assumed: tuple[str, ...]
    config: Mapping[str, Any] | None = None
    keras: Graph | None = None
    own_config: Mapping[str, Any] | None = None
    precision: Precision = field(default_factory=Precision)
    remarks: tuple[str, ...] = ()


class AnotherStructure(ArchitectureError):
    """The arrays are those of a ResNet whose graph is not the file's.

    Attributes:
        remark: In what they differ, in a line.
    """

    remark = ""


class Ambiguous(ArchitectureError):
    """Several descriptions fit: a person decides, not the next attempt."""
