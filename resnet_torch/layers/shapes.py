"""Layers that move, add or drop elements: padding, cropping, upsampling, flattening, reshaping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from resnet_torch.layers.layer_module import Inputs, LayerModule, TorchShapes, attributes, per_axis
from weight_transfer.layer_types.layer_type import Settings, Shape

PADDINGS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)


def channels_move(rank: int, data_format: str) -> bool:
    """Tells whether a tensor of so many axes, the batch's excluded, has its channels elsewhere in Keras."""
    return data_format == "channels_last" and rank > 1


class Cropping(nn.Module):
    """Cuts elements off both ends of the spatial axes.

    Args:
        margins: How many, before and behind, per axis.
    """

    def __init__(self, margins: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.margins = [(before, behind) for before, behind in margins]

    def forward(self, x: Tensor) -> Tensor:
        """Crops (N, C, *sizes)."""
        kept = [slice(before, -behind if behind else None) for before, behind in self.margins]
        return x[(slice(None), slice(None), *kept)]

    def extra_repr(self) -> str:
        """Shows the margins in the printed module."""
        return f"{self.margins}"


class Flatten(nn.Module):
    """Flattens in the order in which Keras holds the elements, so that a Dense behind keeps its kernel's rows.

    Args:
        order: Axes in that order, the batch's included.
    """

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        """Flattens (N, ...) to (N, elements)."""
        return x.permute(self.order).reshape(x.shape[0], -1)

    def extra_repr(self) -> str:
        """Shows the order in the printed module."""
        return f"order={self.order}"


class Reshape(nn.Module):
    """Reshapes in the order in which Keras holds the elements.

    Args:
        target_shape: In Keras's layout, without the batch's axis; one may be -1.
        from_last: Whether Keras holds the input's channels last.
        to_last: Whether Keras holds the output's channels last.
    """

    def __init__(self, target_shape: Sequence[int], from_last: bool, to_last: bool) -> None:
        super().__init__()
        self.target_shape = tuple(target_shape)
        self.from_last = from_last
        self.to_last = to_last

    def forward(self, x: Tensor) -> Tensor:
        """Reshapes (N, C, ...)."""
        keras = x.movedim(1, -1) if self.from_last else x
        shaped = keras.reshape(x.shape[0], *self.target_shape)
        return shaped.movedim(-1, 1) if self.to_last else shaped

    def extra_repr(self) -> str:
        """Shows the target in the printed module."""
        return f"{self.target_shape}"


class Permute(nn.Module):
    """Permutes axes.

    Args:
        axes: PyTorch's, the batch's included.
    """

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, x: Tensor) -> Tensor:
        """Permutes (N, ...)."""
        return x.permute(self.axes)

    def extra_repr(self) -> str:
        """Shows the axes in the printed module."""
        return f"{self.axes}"


class RepeatVector(nn.Module):
    """Repeats a vector along a new axis.

    Args:
        n: How often.
        axis: Where the new axis stands, the batch's being 0.
    """

    def __init__(self, n: int, axis: int) -> None:
        super().__init__()
        self.n = n
        self.repeats = (1, 1, n) if axis == 2 else (1, n, 1)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Repeats (N, C) to (N, C, n), or to (N, n, C)."""
        return x.unsqueeze(self.axis).repeat(self.repeats)

    def extra_repr(self) -> str:
        """Shows the repeats in the printed module."""
        return f"{self.repeats}"


def _zero_padding(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    margins = settings["margins"]
    # PyTorch names the last axis first.
    return PADDINGS[len(margins) - 1](tuple(size for pair in reversed(margins) for size in pair))


def _cropping(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return Cropping(settings["margins"])


def _upsampling(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    factors = tuple(float(factor) for factor in settings["size"])
    if settings["interpolation"] == "bilinear":
        return nn.Upsample(scale_factor=factors, mode="bilinear", align_corners=False)
    # "nearest" rounds i / factor down, which for a factor of 49 gives the wrong element; "nearest-exact" does not.
    return nn.Upsample(scale_factor=factors, mode="nearest-exact")


def _flatten(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return Flatten(settings["order"])


def _reshape(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    ranks = len(in_shapes[0]), len(settings["target_shape"])
    return Reshape(settings["target_shape"], *(channels_move(rank, settings["data_format"]) for rank in ranks))


def _permute(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    keras_axes = [0, *settings["dims"]]
    held = list(range(len(keras_axes)))  # Keras's axes in the order in which PyTorch holds them
    if channels_move(len(in_shapes[0]), settings["data_format"]):
        held = [0, held[-1], *held[1:-1]]
    return Permute([held.index(keras_axes[axis]) for axis in held])


def _repeat_vector(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    return RepeatVector(settings["n"], 2 if settings["data_format"] == "channels_last" else 1)


def _read_zero_padding(module: Any, inputs: Inputs) -> Settings:
    amounts = per_axis(module.padding, 2 * (len(inputs.shapes[0]) - 1))
    return {"margins": [amounts[place : place + 2] for place in range(0, len(amounts), 2)][::-1]}


def _read_upsampling(module: Any, inputs: Inputs) -> Settings:
    factors = per_axis(module.scale_factor, len(inputs.shapes[0]) - 1)
    mode = "nearest" if module.mode == "nearest-exact" else module.mode
    return {"size": [int(factor) if factor == int(factor) else factor for factor in factors], "interpolation": mode}


def _read_permute(module: Any, inputs: Inputs) -> Settings:
    held = list(range(len(module.axes)))
    if channels_move(len(inputs.shapes[0]), inputs.data_format):
        held = [0, held[-1], *held[1:-1]]
    dims = {held[place]: held[axis] for place, axis in enumerate(module.axes)}
    return {"dims": [dims[axis] for axis in range(1, len(dims))]}


_ZERO_PADDING = LayerModule(_zero_padding, dict.fromkeys(PADDINGS, _read_zero_padding))
_CROPPING = LayerModule(_cropping, {Cropping: attributes(margins="margins")})
_UPSAMPLING = LayerModule(_upsampling, {nn.Upsample: _read_upsampling})

SHAPE_LAYERS: Mapping[str, LayerModule] = {
    **{f"ZeroPadding{rank}D": _ZERO_PADDING for rank in (1, 2, 3)},
    **{f"Cropping{rank}D": _CROPPING for rank in (1, 2, 3)},
    **{f"UpSampling{rank}D": _UPSAMPLING for rank in (1, 2, 3)},
    "Flatten": LayerModule(_flatten, {Flatten: attributes(order="order")}),
    "Reshape": LayerModule(_reshape, {Reshape: attributes(target_shape="target_shape")}),
    "Permute": LayerModule(_permute, {Permute: _read_permute}),
    "RepeatVector": LayerModule(_repeat_vector, {RepeatVector: attributes(n="n")}),
}
