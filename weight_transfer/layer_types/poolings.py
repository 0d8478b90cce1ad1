"""Pooling layers over one, two or three spatial axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weight_transfer.layer_types.axes import data_format_of, window_size
from weight_transfer.layer_types.layer_type import DataFormat, LayerType, Options, Settings, Shape


def spatial_data_format(options: Options, rank: int) -> DataFormat:
    """Reads the ``data_format`` of a layer over ``rank`` spatial axes, which must be the model's.

    Raises:
        ArchitectureError: It differs, or the layer has none and always takes its channels last.
    """
    if rank == 1 and options.data_format == "channels_first" and options.take("data_format") is None:
        raise options.refusal("takes its channels last, in a model whose data format is 'channels_first'")
    return data_format_of(options)


def spatial_shape(data_format: str, shape: Shape) -> Shape:
    """Returns the sizes of the spatial axes."""
    return shape[:-1] if data_format == "channels_last" else shape[1:]


def with_spatial(data_format: str, shape: Shape, spatial: Sequence[int | None]) -> Shape:
    """Returns the shape with other sizes of the spatial axes."""
    return (*spatial, shape[-1]) if data_format == "channels_last" else (shape[0], *spatial)


def sizes_of(options: Options, rank: int, default: object, key: str, *aliases: str) -> list[int]:
    """Reads one number for each of ``rank`` axes, or one for all.

    Raises:
        ArchitectureError: It is neither.
    """
    value = options.take(key, default, *aliases)
    sizes = list(value) if isinstance(value, list | tuple) else [value] * rank
    if len(sizes) != rank:
        raise options.refusal(f"{key}={value!r}. Expected one number or {rank}")
    return [int(size) for size in sizes]


def require_rank(options: Options, rank: int) -> None:
    """Refuses an input that has not ``rank`` axes, channels included, the batch's excluded.

    Raises:
        ArchitectureError: It has more or fewer.
    """
    if len(options.in_shapes[0]) != rank:
        raise options.refusal(f"takes an input of {rank} axes and the batch's. Received: {options.in_shapes[0]}")


def _pooling(kind: str, rank: int) -> LayerType:
    def settings(options: Options) -> Settings:
        require_rank(options, rank + 1)
        data_format = spatial_data_format(options, rank)
        pool_size = sizes_of(options, rank, 2, "pool_size", "pool_length")
        padding = str(options.take("padding", "valid", "border_mode")).lower()
        if padding not in ("valid", "same"):
            raise options.refusal(f"padding={padding!r} is not supported. Expected 'valid' or 'same'")
        strides = sizes_of(options, rank, pool_size, "strides", "stride")
        return {
            "kind": kind,
            "pool_size": pool_size,
            "strides": strides,
            "padding": padding,
            "data_format": data_format,
        }

    def out_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
        data_format, padding = settings["data_format"], settings["padding"]
        axes = zip(spatial_shape(data_format, in_shapes[0]), settings["pool_size"], settings["strides"], strict=True)
        return with_spatial(
            data_format,
            in_shapes[0],
            [None if size is None else window_size(size, window, stride, padding) for size, window, stride in axes],
        )

    return LayerType(f"{kind}Pooling{rank}D", settings, out_shape)


def _global_pooling(kind: str, rank: int) -> LayerType:
    def settings(options: Options) -> Settings:
        require_rank(options, rank + 1)
        data_format = spatial_data_format(options, rank)
        keepdims = bool(options.take("keepdims", False))
        return {"kind": kind, "keepdims": keepdims, "data_format": data_format}

    def out_shape(settings: Settings, in_shapes: Sequence[Shape]) -> Shape:
        data_format, shape = settings["data_format"], in_shapes[0]
        if settings["keepdims"]:
            return with_spatial(data_format, shape, [1] * rank)
        return (shape[-1 if data_format == "channels_last" else 0],)

    return LayerType(f"Global{kind}Pooling{rank}D", settings, out_shape)


POOLING_TYPES: Mapping[str, LayerType] = {
    row.class_name: row
    for make in (_pooling, _global_pooling)
    for kind in ("Max", "Average")
    for row in (make(kind, 1), make(kind, 2), make(kind, 3))
}
