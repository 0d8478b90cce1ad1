"""A model as its file lists it: layers by name, and which call reads which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.keras_graph.calls import Inbound

CallKey = tuple[str, int]  # layer name, number of the call
Tensor = tuple[str, int, int]  # the same and the number of the output


@dataclass(frozen=True)
class Row:
    """A layer of one model as the file lists it.

    Attributes:
        path: Its name, the names of the nested models that hold it before it.
        class_name: Keras class, without package or module.
        config: Its arguments as the file holds them; empty of a model.
        inbound: What each of its calls is given.
        model: What it is, where it is itself a model.
    """

    path: str
    class_name: str
    config: Mapping[str, Any]
    inbound: tuple[Inbound, ...]
    model: Model | None = None

    @property
    def num_outputs(self) -> int:
        """A layer is taken to have one."""
        return 1 if self.model is None else len(self.model.outputs)


@dataclass(frozen=True)
class Model:
    """A model with its references resolved.

    Attributes:
        name: Its own name.
        rows: Its layers by name.
        inputs: Names of its input layers.
        input_keys: What a dict that it is called on names them.
        outputs: Its outputs, in its order.
        output_names: Keys of the outputs where it returns a dict.
        reads: What each call reads, in an order to make the calls in.
    """

    name: str
    rows: Mapping[str, Row]
    inputs: tuple[str, ...]
    input_keys: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    output_names: tuple[str, ...] | None
    reads: Mapping[CallKey, tuple[Tensor, ...]]
