"""Convolutions: PyTorch's own where their padding is fixed, else with one that depends on the input's size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.layers.layer_module import Builder, Inputs, LayerModule, Reader, TorchShapes, per_axis
from resnet_torch.padding import same_pad
from weight_transfer.layer_types import Settings, Shape

torch.fx.wrap("same_pad")  # one node of a traced graph; of an imported function, each module has to say so


class _Same(nn.modules.conv._ConvNd):
    """Makes a convolution without padding one whose output has ceil(size / stride) places."""

    def forward(self, x: Tensor) -> Tensor:
        window = _windows(self.kernel_size, self.dilation)
        y: Tensor = self._conv_forward(same_pad(x, window, self.stride), self.weight, self.bias)
        return y


class SameConv1d(_Same, nn.Conv1d):
    """`torch.nn.Conv1d` with TensorFlow's padding 'same'."""


class SameConv2d(_Same, nn.Conv2d):
    """`torch.nn.Conv2d` with TensorFlow's padding 'same'."""


class SameConv3d(_Same, nn.Conv3d):
    """`torch.nn.Conv3d` with TensorFlow's padding 'same'."""


class CausalConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` that pads in front alone: no output sees a later input."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (N, C, L) to (N, C_out, ceil(L / stride))."""
        window = _windows(self.kernel_size, self.dilation)[0]
        y: Tensor = self._conv_forward(F.pad(x, (window - 1, 0)), self.weight, self.bias)
        return y


class _Trimmed(nn.modules.conv._ConvTransposeNd):
    """Makes a transposed convolution drop ``trim`` places at the end of each spatial axis.

    PyTorch's ``padding`` takes as much from either end, TensorFlow's 'same' may take one more behind.
    """

    def __init__(self, *args: Any, trim: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trim = tuple(trim)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return F.pad(super().forward(x, output_size), [amount for trim in reversed(self.trim) for amount in (0, -trim)])

    def extra_repr(self) -> str:
        common = super().extra_repr()  # type: ignore[no-untyped-call]  # torch gives it no types
        return f"{common}, trim={self.trim}"


class TrimmedConvTranspose1d(_Trimmed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` without the last places of its output."""


class TrimmedConvTranspose2d(_Trimmed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` without the last places of its output."""


class TrimmedConvTranspose3d(_Trimmed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` without the last places of its output."""


# By rank.
CONVS: Mapping[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SAME_CONVS: Mapping[int, type[nn.Module]] = {1: SameConv1d, 2: SameConv2d, 3: SameConv3d}
TRANSPOSED: Mapping[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
TRIMMED: Mapping[int, type[nn.Module]] = {
    1: TrimmedConvTranspose1d, 2: TrimmedConvTranspose2d, 3: TrimmedConvTranspose3d
}  # fmt: skip


def build_convolution(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``ConvND``."""
    return _convolution(settings, torch_shapes["weight"], settings["groups"], settings["use_bias"])


def build_depthwise(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``DepthwiseConvND``: as many groups as input channels."""
    weight = torch_shapes["weight"]
    return _convolution(settings, weight, weight[0] // settings["depth_multiplier"], settings["use_bias"])


def build_separable(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``SeparableConvND``: a depthwise convolution, then one of kernel size 1."""
    weight, pointwise = torch_shapes["depthwise.weight"], torch_shapes["pointwise.weight"]
    depthwise = _convolution(settings, weight, weight[0] // settings["depth_multiplier"], use_bias=False)
    conv = CONVS[len(settings["strides"])]
    mix = conv(pointwise[1], pointwise[0], kernel_size=1, bias=settings["use_bias"])
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=mix))


def _convolution(settings: Settings, weight: tuple[int, ...], groups: int, use_bias: bool) -> nn.Module:
    out_channels, channels, *kernel_size = weight
    arguments: dict[str, Any] = {
        "in_channels": channels * groups,
        "out_channels": out_channels,
        "kernel_size": tuple(kernel_size),
        "stride": tuple(settings["strides"]),
        "dilation": tuple(settings["dilation_rate"]),
        "groups": groups,
        "bias": use_bias,
    }
    if settings["padding"] == "causal":
        return CausalConv1d(**arguments)
    padding = _fixed_padding(settings, kernel_size)
    if padding is None:
        return SAME_CONVS[len(kernel_size)](**arguments)
    return CONVS[len(kernel_size)](**arguments, padding=padding)


def _fixed_padding(settings: Settings, kernel_size: Sequence[int]) -> tuple[int, ...] | None:
    """PyTorch's ``padding``, or None where it depends on the input's size or is uneven."""
    windows = _windows(kernel_size, settings["dilation_rate"])
    if settings["padding"] == "valid":
        return (0,) * len(windows)
    even = [
        window == 1 or (window % 2 and step == 1) for window, step in zip(windows, settings["strides"], strict=True)
    ]
    return tuple(window // 2 for window in windows) if all(even) else None


def build_transposed(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``ConvNDTranspose``."""
    channels, filters, *kernel_size = torch_shapes["weight"]
    edges = [
        _edges(settings, axis, window) for axis, window in enumerate(_windows(kernel_size, settings["dilation_rate"]))
    ]
    paddings, output_paddings, trims = zip(*edges, strict=True)
    arguments: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": filters,
        "kernel_size": tuple(kernel_size),
        "stride": tuple(settings["strides"]),
        "dilation": tuple(settings["dilation_rate"]),
        "padding": paddings,
        "output_padding": output_paddings,
        "bias": settings["use_bias"],
    }
    if any(trims):
        return TRIMMED[len(kernel_size)](**arguments, trim=trims)
    return TRANSPOSED[len(kernel_size)](**arguments)


def _edges(settings: Settings, axis: int, window: int) -> tuple[int, int, int]:
    """Returns PyTorch's ``padding`` and ``output_padding`` along an axis, and how much to trim behind.

    Without either, PyTorch gives ``(size - 1) * strides + window`` places. TensorFlow gives more
    (zeros, and the bias, behind) or fewer: it halves what is too much, the odd one going behind.

    Source: tensorflow/core/kernels/conv_grad_shape_utils.cc, ConvBackpropExtractAndVerifyDimension.
    """
    strides = settings["strides"][axis]
    extra = None if settings["output_padding"] is None else settings["output_padding"][axis]
    if settings["padding"] == "valid":
        missing = max(strides - window, 0) if extra is None else extra
    else:
        missing = (strides if extra is None else window % 2 + extra) - window
    if missing >= 0:
        return 0, missing, 0
    return -missing // 2, 0, -missing % 2


def _windows(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    return [(size - 1) * rate + 1 for size, rate in zip(kernel_size, dilation, strict=True)]


def read_convolution(conv: Any, inputs: Inputs) -> Settings:
    """Reads ``ConvND``."""
    return {**_common(conv, _padding(conv)), "filters": conv.weight.shape[0], "groups": conv.groups}


def read_depthwise(conv: Any, inputs: Inputs) -> Settings:
    """Reads ``DepthwiseConvND``."""
    return {**_common(conv, _padding(conv)), "depth_multiplier": conv.weight.shape[0] // conv.groups}


def read_separable(pair: Any, inputs: Inputs) -> Settings:
    """Reads ``SeparableConvND``."""
    read = read_depthwise(pair.depthwise, inputs)
    return {**read, "filters": pair.pointwise.weight.shape[0], "use_bias": pair.pointwise.bias is not None}


def read_transposed(conv: Any, inputs: Inputs) -> Settings:
    """Reads ``ConvNDTranspose``: how many places the output has more than PyTorch's, and what in Keras gives them."""
    rank = conv.weight.dim() - 2
    edges = zip(*(per_axis(one, rank) for one in (conv.output_padding, conv.padding, _trim(conv))), strict=True)
    missing = [behind - 2 * around - trim for behind, around, trim in edges]
    common = _common(conv, "valid")
    windows = _windows(common["kernel_size"], common["dilation_rate"])
    pairs = list(zip(common["strides"], windows, strict=True))
    output_padding: list[int] | None = None
    if missing == [max(step - window, 0) for step, window in pairs]:
        padding = "valid"
    elif missing == [step - window for step, window in pairs]:
        padding = "same"
    elif min(missing) >= 0:
        padding, output_padding = "valid", missing
    else:
        padding = "same"
        output_padding = [more + window - window % 2 for more, window in zip(missing, windows, strict=True)]
    return {**common, "padding": padding, "filters": conv.weight.shape[1], "output_padding": output_padding}


def _common(conv: Any, padding: Any) -> Settings:
    rank = conv.weight.dim() - 2
    return {
        "kernel_size": per_axis(conv.kernel_size, rank),
        "strides": per_axis(conv.stride, rank),
        "padding": padding,
        "dilation_rate": per_axis(conv.dilation, rank),
        "use_bias": conv.bias is not None,
    }


def _padding(conv: Any) -> str | list[int]:
    """Keras's word where it has one for this padding, else PyTorch's numbers."""
    if isinstance(conv, (CausalConv1d, _Same)):
        return "causal" if isinstance(conv, CausalConv1d) else "same"
    rank = conv.weight.dim() - 2
    amounts = per_axis(conv.padding, rank)
    windows = _windows(conv.kernel_size, per_axis(conv.dilation, rank))
    if not any(amounts):
        return "valid"
    even = amounts == [window // 2 for window in windows] and all(
        window == 1 or step == 1 for window, step in zip(windows, per_axis(conv.stride, rank), strict=True)
    )
    return "same" if even else amounts


def _trim(conv: Any) -> tuple[int, ...]:
    return conv.trim if isinstance(conv, _Trimmed) else (0,) * (conv.weight.dim() - 2)


# Class names without their rank, Keras 1's last; what builds and what reads them; by which modules; their ranks.
_PLAIN = (CONVS, SAME_CONVS)
_KINDS = (
    (("Conv{}D", "Convolution{}D"), build_convolution, read_convolution, _PLAIN, (1, 2, 3)),
    (("DepthwiseConv{}D",), build_depthwise, read_depthwise, _PLAIN, (1, 2)),
    (("SeparableConv{}D", "SeparableConvolution{}D"), build_separable, read_separable, (), (1, 2)),
    (("Conv{}DTranspose",), build_transposed, read_transposed, (TRANSPOSED, TRIMMED), (1, 2, 3)),
)


def _row(build: Builder, read: Reader, modules: Sequence[Mapping[int, type[nn.Module]]], rank: int) -> LayerModule:
    classes = [by_rank[rank] for by_rank in modules] or [nn.Sequential]
    causal = [CausalConv1d] if rank == 1 and CONVS in modules else []
    return LayerModule(build, dict.fromkeys([*classes, *causal], read))


CONVOLUTION_LAYERS: Mapping[str, LayerModule] = {
    name.format(rank): _row(build, read, modules, rank)
    for names, build, read, modules, ranks in _KINDS
    for name in names
    for rank in ranks
}
