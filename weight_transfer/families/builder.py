"""Writes down a Keras network as the config that Keras itself would write: one line of the network, one line here.

Layers without a name get tf.keras's automatic one: the class in snake case, counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weight_transfer.checkpoint.layer_names import snake_case
from weight_transfer.graph import keras_depths

Config = dict[str, Any]

KERAS_EPSILON, KERAS_MOMENTUM = 1e-3, 0.99  # Keras's defaults of BatchNormalization in every version


class Builder:
    """Adds layer after layer; each method returns the layer's name, which the next ones take as input.

    Example:
        >>> net = Builder("tiny")
        >>> x = net.input((32, 32, 3))
        >>> config = net.model(net.relu(net.conv(x, 16)))

    Args:
        name: Of the model.
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self._rows: dict[str, Config] = {}
        self._inputs: dict[str, tuple[str, ...]] = {}
        self._counts: dict[str, int] = {}

    def add_layer(self, class_name: str, inputs: str | Sequence[str], name: str | None = None, **config: Any) -> str:
        """Adds a layer of any class."""
        name = name or self._automatic(snake_case(class_name))
        sources = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        self._rows[name] = {
            "class_name": class_name,
            "name": name,
            "config": {"name": name, **config},
            "inbound_nodes": [[[source, 0, 0, {}] for source in sources]] if sources else [],
        }
        self._inputs[name] = sources
        return name

    def _automatic(self, kind: str) -> str:
        count = self._counts.get(kind, 0)
        self._counts[kind] = count + 1
        return f"{kind}_{count}" if count else kind

    def input(self, shape: Sequence[int | None], name: str = "input_1") -> str:
        """Adds the input, a shape without the batch axis."""
        return self.add_layer("InputLayer", (), name, batch_input_shape=[None, *shape], dtype="float32", sparse=False)

    def conv(
        self,
        x: str,
        filters: int,
        kernel_size: int | Sequence[int] = 3,
        strides: int = 1,
        *,
        padding: str = "same",
        use_bias: bool = True,
        data_format: str = "channels_last",
        name: str | None = None,
    ) -> str:
        """Adds a Conv2D."""
        return self.add_layer(
            "Conv2D",
            x,
            name,
            filters=filters,
            kernel_size=_pair(kernel_size),
            strides=_pair(strides),
            padding=padding,
            data_format=data_format,
            activation="linear",
            use_bias=use_bias,
        )

    def norm(
        self,
        x: str,
        *,
        epsilon: float = KERAS_EPSILON,
        momentum: float = KERAS_MOMENTUM,
        axis: int = -1,
        scale: bool = True,
        name: str | None = None,
    ) -> str:
        """Adds a BatchNormalization."""
        return self.add_layer(
            "BatchNormalization", x, name, axis=axis, momentum=momentum, epsilon=epsilon, center=True, scale=scale
        )

    def activation(self, x: str, activation: str, name: str | None = None) -> str:
        """Adds an Activation."""
        return self.add_layer("Activation", x, name, activation=activation)

    def relu(self, x: str, name: str | None = None) -> str:
        """Adds an Activation of relu."""
        return self.activation(x, "relu", name)

    def add(self, inputs: Sequence[str], name: str | None = None) -> str:
        """Adds an Add."""
        return self.add_layer("Add", inputs, name)

    def zero_pad(self, x: str, padding: int, name: str | None = None) -> str:
        """Adds a ZeroPadding2D, the same on every side."""
        sides = [[padding, padding], [padding, padding]]
        return self.add_layer("ZeroPadding2D", x, name, padding=sides, data_format="channels_last")

    def max_pool(self, x: str, pool_size: int, strides: int, name: str | None = None) -> str:
        """Adds a MaxPooling2D without padding."""
        return self._pool("MaxPooling2D", x, pool_size, strides, name)

    def average_pool(self, x: str, pool_size: int, name: str | None = None) -> str:
        """Adds an AveragePooling2D without padding, as far apart as it is wide."""
        return self._pool("AveragePooling2D", x, pool_size, pool_size, name)

    def _pool(self, class_name: str, x: str, pool_size: int, strides: int, name: str | None) -> str:
        sizes = {"pool_size": _pair(pool_size), "strides": _pair(strides)}
        return self.add_layer(class_name, x, name, **sizes, padding="valid", data_format="channels_last")

    def global_average_pool(self, x: str, name: str | None = None) -> str:
        """Adds a GlobalAveragePooling2D."""
        return self.add_layer("GlobalAveragePooling2D", x, name, data_format="channels_last")

    def flatten(self, x: str) -> str:
        """Adds a Flatten, which keeps the axes in the order in which they stand."""
        return self.add_layer("Flatten", x)

    def dense(self, x: str, units: int, activation: str = "linear", name: str | None = None) -> str:
        """Adds a Dense with bias."""
        return self.add_layer("Dense", x, name, units=units, activation=activation, use_bias=True)

    def model(self, *outputs: str) -> Config:
        """Returns the whole config, its layers in the order of ``model.layers``."""
        depths = keras_depths(self._inputs)
        layers = [self._rows[name] for name in sorted(depths, key=lambda name: -depths[name])]
        inputs = [name for name, sources in self._inputs.items() if not sources]
        return {
            "class_name": "Functional",
            "config": {
                "name": self.name,
                "layers": layers,
                "input_layers": [[name, 0, 0] for name in inputs],
                "output_layers": [[name, 0, 0] for name in outputs],
            },
        }


def classifier_activation(classes: int) -> str:
    """What a classifier's last layer ends in: softmax, but sigmoid for one class, of which softmax is always 1."""
    return "sigmoid" if classes == 1 else "softmax"


def _pair(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
