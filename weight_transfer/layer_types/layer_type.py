"""What a row of the layer table is: how one Keras class is read, shaped, and mapped to PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import ArchitectureError

Shape = tuple[int | None, ...]  # in Keras's layout, without the batch axis; None for a free size
Settings = dict[str, Any]  # what a layer computes, in plain JSON values, the same for every Keras
DataFormat = Literal["channels_last", "channels_first"]

# Arguments that change nothing an inference computes. Regularizers are kept as they are beside the settings.
WITHOUT_EFFECT = frozenset(
    {
        "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_dim", "input_length", "sparse",
        "ragged", "optional", "build_config", "autocast", "seed", "input_dtype",
        "kernel_initializer", "bias_initializer", "kernel_constraint", "bias_constraint", "kernel_regularizer",
        "bias_regularizer", "activity_regularizer", "depthwise_initializer", "depthwise_constraint",
        "depthwise_regularizer", "pointwise_initializer", "pointwise_constraint", "pointwise_regularizer",
        "beta_initializer", "beta_constraint", "beta_regularizer", "gamma_initializer", "gamma_constraint",
        "gamma_regularizer", "moving_mean_initializer", "moving_variance_initializer", "alpha_initializer",
        "alpha_constraint", "alpha_regularizer", "init", "W_regularizer", "b_regularizer", "W_constraint",
        "b_constraint", "lora_rank", "lora_alpha", "quantization_config", "keras_version",
    }
)  # fmt: skip


class Options:
    """A layer's config, read key by key; what nobody read and has an effect is refused.

    Args:
        path: The layer's path, for messages.
        class_name: Its class, for messages.
        config: As the file holds it.
        in_shapes: Of its inputs.
        data_format: Of the whole model.
    """

    def __init__(
        self,
        path: str,
        class_name: str,
        config: Mapping[str, Any],
        in_shapes: Sequence[Shape],
        data_format: DataFormat,
    ) -> None:
        self.path = path
        self.class_name = class_name
        self.in_shapes = tuple(in_shapes)
        self.data_format = data_format
        self._config = dict(config)
        self._read: set[str] = set()

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The config as it is; none of it counts as read."""
        return self._config

    def take(self, key: str, default: Any = None, *aliases: str) -> Any:
        """Returns an argument by its name in Keras 3, or by what earlier Kerases called it."""
        for name in (key, *aliases):
            self._read.add(name)
            if name in self._config and self._config[name] is not None:
                return self._config[name]
        return default

    def must_be(self, key: str, *allowed: Any) -> None:
        """Refuses an argument with a value that is not supported; absent is allowed.

        Raises:
            ArchitectureError: It has another value.
        """
        value = self.take(key, allowed[0])
        if value not in allowed:
            raise self.refusal(f"{key}={value!r} is not supported. Expected one of {allowed}")

    def refusal(self, problem: str) -> ArchitectureError:
        """Returns the error for this layer."""
        return ArchitectureError(f"layer {self.path!r} ({self.class_name}): {problem}.")

    def finish(self) -> None:
        """Refuses arguments that nobody read.

        Raises:
            ArchitectureError: One could change what the layer computes.
        """
        left = sorted(
            key
            for key, value in self._config.items()
            if key not in self._read and key not in WITHOUT_EFFECT and value not in (None, False)
        )
        if left:
            raise self.refusal(f"unknown arguments {', '.join(f'{key}={self._config[key]!r}' for key in left)}")

    def axis(self, keras_axis: int, rank: int | None = None) -> int:
        """Returns a PyTorch axis, the batch's being 0, for a Keras axis of the first input.

        Tensors of two and more axes (without the batch's) hold their channels first in PyTorch.

        Raises:
            ArchitectureError: The input has no such axis.
        """
        rank = (len(self.in_shapes[0]) if rank is None else rank) + 1
        if not -rank <= keras_axis < rank:
            raise self.refusal(f"axis {keras_axis} is none of an input of {rank} axes, the batch's included")
        keras_axis = keras_axis % rank
        if self.data_format == "channels_first" or rank == 2 or keras_axis == 0:
            return keras_axis
        return 1 if keras_axis == rank - 1 else keras_axis + 1


@dataclass(frozen=True)
class Weight:
    """One array of a layer.

    Attributes:
        shape: In Keras's layout.
        torch: Name of the tensor within the layer's module.
        axes: Keras axes in PyTorch's order; None to keep them.
        torch_shape: Shape to give the permuted array, where permuting alone does not; None otherwise.
        whole: Whether its numbers are whole, as a count's: then they keep their type.
    """

    shape: tuple[int, ...]
    torch: str
    axes: tuple[int, ...] | None = None
    torch_shape: tuple[int, ...] | None = None
    whole: bool = False

    def to_torch(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the array in PyTorch's layout, contiguous."""
        moved = array if self.axes is None else array.transpose(self.axes)
        # Not ascontiguousarray, which gives a scalar an axis.
        return np.asarray(moved if self.torch_shape is None else moved.reshape(self.torch_shape), order="C")

    def to_keras(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the tensor in Keras's layout, contiguous: the inverse of `to_torch`."""
        axes = tuple(range(len(self.shape))) if self.axes is None else self.axes
        moved = tensor.reshape([self.shape[axis] for axis in axes])
        return np.asarray(moved.transpose(np.argsort(axes)), order="C")


def _no_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    return {}


@dataclass(frozen=True)
class LayerType:
    """A row of the table: one Keras layer class.

    Attributes:
        class_name: Keras's.
        settings: Reads the config. ``activation`` in what it returns is applied by a module of its
            own behind the layer, called ``<layer>_activation``.
        out_shape: Of its output, from settings and input shapes.
        weights: Its arrays by role, from settings and input shapes, in Keras's order.
        in_training: The settings that act in training alone; all others act in inference too.
        two_modes: Whether it computes otherwise in training.
    """

    class_name: str
    settings: Callable[[Options], Settings]
    out_shape: Callable[[Settings, Sequence[Shape]], Shape]
    weights: Callable[[Settings, Sequence[Shape]], dict[str, Weight]] = _no_weights
    in_training: tuple[str, ...] = ()
    two_modes: bool = False
