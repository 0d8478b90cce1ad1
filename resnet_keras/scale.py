"""cnn_finetune's `Scale` for either Keras: the one custom layer that a reference may hold, in our own words.

Nothing of the user's is ever imported: where a file names the class, this one takes its place.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from weight_transfer.layer_types.normalizations import SCALE


def custom_objects(module: Any) -> Mapping[str, type]:
    """Returns what a Keras is to take for the classes that are not its own, by name.

    Args:
        module: `keras` or `tf_keras`.
    """
    return {SCALE: scale_layer(module)}


@functools.cache
def scale_layer(module: Any) -> type:
    """Returns the layer class: x * gamma + beta, one of each for every place along an axis.

    Args:
        module: `keras` or `tf_keras`; only its own kind of layer fits into its models.

    Source: flyyufelix/cnn_finetune custom_layers/scale_layer.py, commit d5d8c43, for arguments and arithmetic.
    """
    reshape = module.ops.reshape if hasattr(module, "ops") else module.backend.reshape

    class Scale(module.layers.Layer):
        def __init__(
            self,
            axis: int = -1,
            momentum: float = 0.9,
            gamma_init: str = "one",
            beta_init: str = "zero",
            **arguments: Any,
        ) -> None:
            super().__init__(**arguments)
            # The momentum moves nothing, there too; kept, so that the config stays the file's.
            self.axis, self.momentum = axis, momentum

        def build(self, input_shape: Sequence[int | None]) -> None:
            size = input_shape[self.axis]
            self.gamma = self.add_weight(name="gamma", shape=(size,), initializer="ones")
            self.beta = self.add_weight(name="beta", shape=(size,), initializer="zeros")
            super().build(input_shape)

        def call(self, x: Any) -> Any:
            shape = [1] * len(x.shape)
            shape[self.axis] = -1
            return reshape(self.gamma, shape) * x + reshape(self.beta, shape)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "axis": self.axis, "momentum": self.momentum}

    return Scale
