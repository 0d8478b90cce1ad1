"""What a Keras model's graph is: layers, and calls of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KerasLayer:
    """One layer, however often it is called.

    Attributes:
        path: Its name, the names of the nested models that hold it before it: ``resnet50/conv1``.
        class_name: Keras class, without package or module.
        config: Its arguments as the file holds them.
    """

    path: str
    class_name: str
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.path.rpartition("/")[2]

    @property
    def trainable(self) -> bool:
        """What its config says of whether it learns; True where it says nothing."""
        return self.config.get("trainable") is not False


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        value: Name of what it returns: the layer's path, with ``#2`` and so on from its second call on.
        layer: Path of the layer called.
        inputs: Values it reads, in order.
        arguments: Constants of the call beside its inputs, by name (only TensorFlow operations have them).
        training: The mode that the call itself says, whatever the model's is; None leaves it to the model. Keras 2
            keeps to it; Keras 3 writes it too, but `fit`, `evaluate` and `predict` override it, so that it is None.
    """

    value: str
    layer: str
    inputs: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    training: bool | None = None


@dataclass(frozen=True)
class KerasGraph:
    """A whole model, nested models dissolved.

    Attributes:
        name: Of the model.
        layers: By path, `InputLayer` of the outermost model included.
        calls: Each after the calls whose values it reads; an input is a call without inputs.
        inputs: Values of the model's inputs, in its order.
        outputs: Values of the model's outputs, in its order.
        output_names: Keys of the outputs where the model returns a dict; None where it returns one
            value or a list.
    """

    name: str
    layers: Mapping[str, KerasLayer]
    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...] | None = None
