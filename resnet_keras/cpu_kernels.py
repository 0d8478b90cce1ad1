"""What TensorFlow does not compute on a CPU in float64, computed by other means.

| layers | what is missing | in its place |
|---|---|---|
| convolutions and pools, channels first | a kernel in float64 | the layer's own call, compiled by XLA |
| 3-D max and average pools | a kernel in float64 | the largest, or the mean, of strided slices |
| 3-D convolutions whose kernel is shorter than their stride | right numbers in float64 | XLA, as above |
| bilinear upsampling and resizing | float64: it returns float32 | two matrix products |

Every other layer computes by its own kernel, and in float32 these do too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

# Channels-first layers that fail in float64 on a CPU, by Keras; the others move the channels, or compile, themselves.
COMPILED: Mapping[str, frozenset[str]] = {
    "keras": frozenset({"Conv1D", "Conv2D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}),
    "tf_keras": frozenset(
        {
            "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv3DTranspose", "DepthwiseConv1D", "SeparableConv1D",
            "SeparableConv2D", "MaxPooling2D", "AveragePooling2D",
        }
    ),
}  # fmt: skip
VOLUMES = ("Conv3D", "Conv3DTranspose")
POOLS = ("MaxPooling3D", "AveragePooling3D")
RESIZING = ("UpSampling2D", "Resizing")


def replacement(module: Any, layer: Any, dtype: str) -> Callable[..., Any] | None:
    """Returns what computes a layer's call in the place of TensorFlow's kernel; None where that serves.

    Args:
        module: `keras` or `tf_keras`.
        layer: Of that Keras.
        dtype: That it computes in.
    """
    class_name = type(layer).__name__
    if dtype != "float64":
        return None
    if class_name in POOLS:
        return functools.partial(_pooled, layer)
    if class_name in RESIZING and layer.interpolation == "bilinear":
        return functools.partial(_resized, layer)
    if class_name in VOLUMES and any(k < step for k, step in zip(layer.kernel_size, layer.strides, strict=True)):
        return _compiled(layer.call)  # TensorFlow 2.21 gives other numbers in float64 than in float32
    if class_name in COMPILED[module.__name__] and layer.data_format == "channels_first":
        return _compiled(layer.call)
    return None


def _compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(call)(tf.function(call, jit_compile=True, autograph=False))


@tf.autograph.experimental.do_not_convert
def _pooled(layer: Any, inputs: Any) -> Any:
    """A 3-D pool as TensorFlow computes it in float32: pads are never the largest, and not counted in a mean."""
    x = _channels_last(layer, inputs)
    sizes = _sizes(x)[1:4]
    windows = _windows(x, sizes, layer)
    if type(layer).__name__ == "AveragePooling3D":
        ones = tf.ones([1, *sizes, 1], x.dtype)
        return _as_given(layer, inputs, tf.add_n(list(windows)) / tf.add_n(list(_windows(ones, sizes, layer))))
    slices = list(_windows(x, sizes, layer, fill=float("-inf")))
    largest = tf.stop_gradient(functools.reduce(tf.maximum, slices))
    # Each place that holds the largest number gets the whole gradient, as from TensorFlow's kernel.
    ways = [tf.where(one == largest, one - tf.stop_gradient(one), tf.zeros_like(one)) for one in slices]
    return _as_given(layer, inputs, largest + tf.add_n(ways))


def _windows(x: Any, sizes: Sequence[Any], layer: Any, fill: float = 0.0) -> Iterator[Any]:
    """For each place in a pool's window, the numbers that all windows have there."""
    pads, counts = [], []
    for n, size, stride in zip(sizes, layer.pool_size, layer.strides, strict=True):
        same = layer.padding == "same"
        count = -(-n // stride) if same else (n - size) // stride + 1
        total = tf.maximum((count - 1) * stride + size - n, 0) if same else 0
        pads.append([total // 2, total - total // 2])
        counts.append(count)
    x = tf.pad(x, [[0, 0], *pads, [0, 0]], constant_values=fill)
    for places in itertools.product(*map(range, layer.pool_size)):
        steps = zip(places, counts, layer.strides, strict=True)
        spatial = [slice(first, first + (count - 1) * stride + 1, stride) for first, count, stride in steps]
        yield x[(slice(None), *spatial)]


@tf.autograph.experimental.do_not_convert
def _resized(layer: Any, inputs: Any, *_: Any, **__: Any) -> Any:
    """Bilinear resizing with half-pixel centres and without antialiasing.

    Source: tensorflow/core/kernels/image/resize_bilinear_op.cc, compute_interpolation_weights and HalfPixelScaler.
    """
    x = _channels_last(layer, inputs)
    height, width = _sizes(x)[1:3]
    if type(layer).__name__ == "Resizing":
        wanted = layer.height, layer.width
    else:
        wanted = height * layer.size[0], width * layer.size[1]
    rows, columns = _bilinear(height, wanted[0], x.dtype), _bilinear(width, wanted[1], x.dtype)
    return _as_given(layer, inputs, tf.einsum("ah,nhwc,bw->nabc", rows, x, columns))


def _bilinear(size: Any, wanted: Any, dtype: Any) -> Any:
    """The share that each place along an axis has in each place of the resized one, (wanted, size)."""
    places = (tf.cast(tf.range(wanted), dtype) + 0.5) * (tf.cast(size, dtype) / tf.cast(wanted, dtype)) - 0.5
    lower = tf.floor(places)
    before, behind = (tf.clip_by_value(tf.cast(lower + n, tf.int32), 0, size - 1) for n in (0, 1))
    share = (places - lower)[:, tf.newaxis]
    return tf.one_hot(before, size, dtype=dtype) * (1 - share) + tf.one_hot(behind, size, dtype=dtype) * share


def _sizes(x: Any) -> list[Any]:
    """The sizes of a tensor's axes: numbers where they are known, else tensors."""
    known, found = x.shape.as_list(), tf.shape(x)
    return [found[axis] if n is None else n for axis, n in enumerate(known)]


def _is_channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"  # tf_keras's Resizing has none


def _channels_last(layer: Any, inputs: Any) -> Any:
    if not _is_channels_first(layer):
        return inputs
    return tf.transpose(inputs, [0, *range(2, len(inputs.shape)), 1])


def _as_given(layer: Any, inputs: Any, result: Any) -> Any:
    """A result with its channels where the layer has them, of the shape that Keras knows."""
    if _is_channels_first(layer):
        rank = len(result.shape)
        result = tf.transpose(result, [0, rank - 1, *range(1, rank - 1)])
    result.set_shape(layer.compute_output_shape(tuple(inputs.shape)))
    return result
