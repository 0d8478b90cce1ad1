"""Layers that move, add or drop elements: padding, cropping, upsampling, flattening, reshaping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape
from weight_transfer.layer_types.poolings import (
    require_rank,
    sizes_of,
    spatial_data_format,
    spatial_shape,
    with_spatial,
)


def _pairs(options: Options, rank: int, key: str, default: Any) -> list[list[int]]:
    """Reads how much goes before and behind each axis, in any of the ways to write it."""
    value = options.take(key, default)
    if isinstance(value, int):
        return [[value, value]] * rank
    if rank == 1 and len(value) in (1, 2) and all(isinstance(size, int) for size in value):
        return [[int(value[0]), int(value[-1])]]
    if len(value) != rank:
        raise options.refusal(f"{key}={value!r}. Expected one number, {rank} numbers or {rank} pairs")
    return [[size, size] if isinstance(size, int) else [int(size[0]), int(size[1])] for size in value]


def _margins(class_name: str, rank: int, key: str, sign: int) -> LayerType:
    """A row for zero padding (sign 1) or cropping (sign -1)."""

    def settings(options: Options) -> Settings:
        require_rank(options, rank + 1)
        data_format = spatial_data_format(options, rank)
        return {"margins": _pairs(options, rank, key, 1), "data_format": data_format}

    def out_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
        data_format = settings["data_format"]
        sizes = spatial_shape(data_format, in_shapes[0])
        changed = [
            None if size is None else size + sign * sum(pair)
            for size, pair in zip(sizes, settings["margins"], strict=True)
        ]
        return with_spatial(data_format, in_shapes[0], changed)

    return LayerType(class_name, settings, out_shape)


def _upsampling(rank: int) -> LayerType:
    def settings(options: Options) -> Settings:
        require_rank(options, rank + 1)
        data_format = spatial_data_format(options, rank)
        interpolation = options.take("interpolation", "nearest")
        if interpolation not in ("nearest", "bilinear"):
            raise options.refusal(f"interpolation={interpolation!r} is not supported")
        size = sizes_of(options, rank, 2, "size", "length")
        return {"size": size, "interpolation": interpolation, "data_format": data_format}

    def out_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
        data_format = settings["data_format"]
        sizes = spatial_shape(data_format, in_shapes[0])
        grown = [None if size is None else size * factor for size, factor in zip(sizes, settings["size"], strict=True)]
        return with_spatial(data_format, in_shapes[0], grown)

    return LayerType(f"UpSampling{rank}D", settings, out_shape)


def _flatten(options: Options) -> Settings:
    """Reads in which order the axes, as PyTorch holds them, are flattened."""
    rank = len(options.in_shapes[0])
    given = options.take("data_format", "channels_last")
    keras_order = list(range(1, rank + 1))
    if given == "channels_first" and rank > 1:
        keras_order = [*keras_order[1:], keras_order[0]]  # Keras flattens the channels last
    return {"order": [0, *(options.axis(axis) for axis in keras_order)]}


def _flattened(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    return (_product(in_shapes[0]),)


def _product(shape: Shape) -> int | None:
    sizes = [size for size in shape if size is not None]
    return math.prod(sizes) if len(sizes) == len(shape) else None


def _reshape(options: Options) -> Settings:
    target = [int(size) for size in options.take("target_shape")]
    total = _product(options.in_shapes[0])
    known = math.prod(size for size in target if size != -1)
    if total is not None and (total % known if -1 in target else total != known):
        raise options.refusal(f"cannot reshape {options.in_shapes[0]} to {tuple(target)}")
    return {"target_shape": target, "data_format": options.data_format}


def _reshaped(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    target, total = settings["target_shape"], _product(in_shapes[0])
    known = math.prod(size for size in target if size != -1)
    rest = None if total is None else total // known
    return tuple(rest if size == -1 else size for size in target)


def _permute(options: Options) -> Settings:
    dims = [int(axis) for axis in options.take("dims")]
    require_rank(options, len(dims))
    if sorted(dims) != list(range(1, len(dims) + 1)):
        raise options.refusal(f"dims={dims} does not name each axis once")
    return {"dims": dims, "data_format": options.data_format}


def _permuted(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    return tuple(in_shapes[0][axis - 1] for axis in settings["dims"])


def _repeat_vector(options: Options) -> Settings:
    require_rank(options, 1)
    return {"n": int(options.take("n")), "data_format": options.data_format}


def _repeated(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
    return (settings["n"], *in_shapes[0])


SHAPE_TYPES: Mapping[str, LayerType] = {
    row.class_name: row
    for row in (
        *(_margins(f"ZeroPadding{rank}D", rank, "padding", 1) for rank in (1, 2, 3)),
        *(_margins(f"Cropping{rank}D", rank, "cropping", -1) for rank in (1, 2, 3)),
        *(_upsampling(rank) for rank in (1, 2, 3)),
        LayerType("Flatten", _flatten, _flattened),
        LayerType("Reshape", _reshape, _reshaped),
        LayerType("Permute", _permute, _permuted),
        LayerType("RepeatVector", _repeat_vector, _repeated),
    )
}
