"""cnn_finetune's `Scale` as its users' Kerases run it: with arrays that bear the layer's name before their role."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any


@functools.cache
def scale_class(keras: Any) -> type:
    """The class for one Keras; pytest's own process imports this module, which therefore imports none."""

    class Scale(keras.layers.Layer):
        def __init__(self, axis: int = -1, momentum: float = 0.9, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.axis, self.momentum = axis, momentum

        def build(self, input_shape: Sequence[int | None]) -> None:
            shape = (input_shape[self.axis],)
            self.gamma = self.add_weight(name=f"{self.name}_gamma", shape=shape, initializer="ones")
            self.beta = self.add_weight(name=f"{self.name}_beta", shape=shape, initializer="zeros")

        def call(self, x: Any) -> Any:
            import tensorflow as tf

            last = len(x.shape) - 1
            order = list(range(last + 1))
            order[self.axis], order[last] = order[last], order[self.axis]
            # The axis last, where arithmetic needs no reshaping: another way than the reference's own.
            return tf.transpose(tf.transpose(x, order) * self.gamma + self.beta, order)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "momentum": self.momentum, "axis": self.axis}

    return Scale


def reference_classes(path: Path) -> tuple[str, set[str]]:
    """Loads a file as a reference: what loaded it, and the modules of the classes of its layers ``Scale``."""
    from resnet_keras.reference import load_reference

    found = load_reference(path)
    layers = [layer for layer in found.model.layers if type(layer).__name__ == "Scale"]
    return found.loaded_by, {type(layer).__module__ for layer in layers}
