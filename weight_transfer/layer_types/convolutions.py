"""Convolutions of every kind and rank: plain, depthwise, separable, transposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from weight_transfer.layer_types.activations import activation_of
from weight_transfer.layer_types.axes import data_format_of, fixed, known_size, window_size
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape, Weight

# By rank, what Keras 1 called each part of the kernel size.
KERAS1_KERNEL_SIZE = {1: ("filter_length",), 2: ("nb_row", "nb_col"), 3: ("kernel_dim1", "kernel_dim2", "kernel_dim3")}


def _common(rank: int, paddings: Sequence[str], options: Options) -> Settings:
    """Reads what all of them have, and checks the input."""
    if len(options.in_shapes[0]) != rank + 1:
        raise options.refusal(f"expected an input of {rank + 1} axes besides the batch, got {options.in_shapes[0]}")
    padding = str(options.take("padding", "valid", "border_mode")).lower()
    if padding not in paddings:
        raise options.refusal(f"padding={padding!r} is not supported. Expected one of {tuple(paddings)}")
    data_format = data_format_of(options)
    known_size(options, 1 if data_format == "channels_first" else -1)
    return {
        "kernel_size": _kernel_size(options, rank),
        "strides": _per_axis(options, "strides", options.take("strides", 1, "subsample", "subsample_length"), rank),
        "padding": padding,
        "dilation_rate": _per_axis(options, "dilation_rate", options.take("dilation_rate", 1), rank),
        "data_format": data_format,
        "use_bias": bool(options.take("use_bias", True, "bias")),
        "activation": activation_of(options),
    }


def _kernel_size(options: Options, rank: int) -> list[int]:
    parts = [options.take(key) for key in KERAS1_KERNEL_SIZE[rank]]
    return _per_axis(options, "kernel_size", options.take("kernel_size", parts), rank)


def _per_axis(options: Options, key: str, value: Any, rank: int, least: int = 1) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value] * rank
    if len(values) != rank or not all(isinstance(one, int) and one >= least for one in values):
        raise options.refusal(f"{key}={value!r} is not {rank} numbers of {least} or more")
    return values


def _positive(options: Options, key: str, default: int | None = None, *aliases: str) -> int:
    value = options.take(key, default, *aliases)
    if not isinstance(value, int) or value < 1:
        raise options.refusal(f"{key}={value!r} is not a number of 1 or more")
    return value


def _conv_settings(rank: int, options: Options) -> Settings:
    settings = _common(rank, ("valid", "same", "causal") if rank == 1 else ("valid", "same"), options)
    settings |= {
        "filters": _positive(options, "filters", None, "nb_filter"),
        "groups": _positive(options, "groups", 1),
    }
    channels = _in_channels(settings, options.in_shapes)
    if channels % settings["groups"] or settings["filters"] % settings["groups"]:
        raise options.refusal(f"{settings['groups']} groups do not divide {channels} channels and the filters")
    return _checked(settings, _window_size, options)


def _depthwise_settings(rank: int, options: Options) -> Settings:
    settings = _common(rank, ("valid", "same"), options)
    settings["depth_multiplier"] = _positive(options, "depth_multiplier", 1)
    options.must_be("groups", 1)  # tf_keras writes it
    return _checked(settings, _window_size, options)


def _separable_settings(rank: int, options: Options) -> Settings:
    settings = _common(rank, ("valid", "same", "causal") if rank == 1 else ("valid", "same"), options)
    settings["filters"] = _positive(options, "filters", None, "nb_filter")
    settings["depth_multiplier"] = _positive(options, "depth_multiplier", 1)
    options.must_be("groups", 1)  # tf_keras writes it
    return _checked(settings, _window_size, options)


def _transpose_settings(rank: int, options: Options) -> Settings:
    settings = _common(rank, ("valid", "same"), options)
    settings["filters"] = _positive(options, "filters", None, "nb_filter")
    output_padding = options.take("output_padding")
    settings["output_padding"] = (
        None if output_padding is None else _per_axis(options, "output_padding", output_padding, rank, least=0)
    )
    options.must_be("groups", 1)  # tf_keras writes it
    return _checked(settings, _transposed_size, options)


def _checked(settings: Settings, size_after: SizeRule, options: Options) -> Settings:
    sizes = _spatial(settings, options.in_shapes, size_after)
    if any(size is not None and size < 1 for size in sizes):
        raise options.refusal(f"the window {settings['kernel_size']} is larger than its input {options.in_shapes[0]}")
    return settings


SizeRule = Callable[[Settings, int, int], int]  # the output's size from settings, spatial axis, input's size


def _window_size(settings: Settings, axis: int, size: int) -> int:
    return window_size(size, effective_window(settings)[axis], settings["strides"][axis], settings["padding"])


def _transposed_size(settings: Settings, axis: int, size: int) -> int:
    # Source: keras/src/backend/common/backend_utils.py, _get_output_shape_given_tf_padding.
    window, strides = effective_window(settings)[axis], settings["strides"][axis]
    extra = None if settings["output_padding"] is None else settings["output_padding"][axis]
    if settings["padding"] == "valid":
        return int((size - 1) * strides + (max(window, strides) if extra is None else window + extra))
    return int(size * strides if extra is None else (size - 1) * strides + window % 2 + extra)


def effective_window(settings: Settings) -> list[int]:
    """Returns how far the kernel reaches along each spatial axis, dilation included."""
    return [
        (size - 1) * rate + 1 for size, rate in zip(settings["kernel_size"], settings["dilation_rate"], strict=True)
    ]


def _spatial(settings: Settings, in_shapes: Sequence[Shape], size_after: SizeRule) -> list[int | None]:
    shape = in_shapes[0]
    sizes = shape[1:] if settings["data_format"] == "channels_first" else shape[:-1]
    return [None if size is None else size_after(settings, axis, size) for axis, size in enumerate(sizes)]


def _in_channels(settings: Settings, in_shapes: Sequence[Shape]) -> int:
    return fixed(in_shapes[0][0 if settings["data_format"] == "channels_first" else -1])


def _out_channels(settings: Settings, in_shapes: Sequence[Shape]) -> int:
    if "filters" in settings:
        return int(settings["filters"])
    return _in_channels(settings, in_shapes) * int(settings["depth_multiplier"])


def _out_shape(size_after: SizeRule, settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    sizes, channels = _spatial(settings, in_shapes, size_after), _out_channels(settings, in_shapes)
    return (channels, *sizes) if settings["data_format"] == "channels_first" else (*sizes, channels)


def _conv_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    channels = _in_channels(settings, in_shapes) // settings["groups"]
    return {"kernel": _kernel(settings["kernel_size"], channels, settings["filters"]), **_bias(settings, in_shapes)}


def _depthwise_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    return {"kernel": _depthwise_kernel(settings, in_shapes, "weight"), **_bias(settings, in_shapes)}


def _separable_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    channels = _in_channels(settings, in_shapes) * settings["depth_multiplier"]
    ones = [1] * len(settings["kernel_size"])
    return {
        "depthwise_kernel": _depthwise_kernel(settings, in_shapes, "depthwise.weight"),
        "pointwise_kernel": _kernel(ones, channels, settings["filters"], "pointwise.weight"),
        **_bias(settings, in_shapes, "pointwise.bias"),
    }


def _transpose_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    # Both frameworks compute the gradient of a convolution, and name the channels from its point of view.
    channels = _in_channels(settings, in_shapes)
    return {"kernel": _kernel(settings["kernel_size"], settings["filters"], channels), **_bias(settings, in_shapes)}


def _kernel(kernel_size: Sequence[int], before: int, last: int, torch: str = "weight") -> Weight:
    rank = len(kernel_size)
    return Weight((*kernel_size, before, last), torch, axes=(rank + 1, rank, *range(rank)))


def _depthwise_kernel(settings: Settings, in_shapes: Sequence[Shape], torch: str) -> Weight:
    size, multiplier = settings["kernel_size"], settings["depth_multiplier"]
    rank, channels = len(size), _in_channels(settings, in_shapes)
    axes = (rank, rank + 1, *range(rank))
    return Weight((*size, channels, multiplier), torch, axes, torch_shape=(channels * multiplier, 1, *size))


def _bias(settings: Settings, in_shapes: Sequence[Shape], torch: str = "bias") -> dict[str, Weight]:
    return {"bias": Weight((_out_channels(settings, in_shapes),), torch)} if settings["use_bias"] else {}


# Class names without their rank, Keras 1's last; how they are read, sized and weighted; their ranks.
_KINDS = (
    (("Conv{}D", "Convolution{}D"), _conv_settings, _window_size, _conv_weights, (1, 2, 3)),
    (("DepthwiseConv{}D",), _depthwise_settings, _window_size, _depthwise_weights, (1, 2)),
    (("SeparableConv{}D", "SeparableConvolution{}D"), _separable_settings, _window_size, _separable_weights, (1, 2)),
    (("Conv{}DTranspose",), _transpose_settings, _transposed_size, _transpose_weights, (1, 2, 3)),
)

CONVOLUTION_TYPES: Mapping[str, LayerType] = {
    name.format(rank): LayerType(name.format(rank), partial(settings, rank), partial(_out_shape, size_after), weights)
    for names, settings, size_after, weights, ranks in _KINDS
    for name in names
    for rank in ranks
}
