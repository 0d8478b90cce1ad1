"""Layers that act in training only: dropout and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weight_transfer.layer_types.axes import same_shape
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings
from weight_transfer.layer_types.poolings import require_rank, spatial_data_format


def _rate(options: Options) -> Settings:
    if options.take("noise_shape") is not None:
        raise options.refusal(f"noise_shape={options.take('noise_shape')!r} is not supported")
    return {"rate": float(options.take("rate", 0.5, "p"))}


def _spatial(rank: int) -> Callable[[Options], Settings]:
    def settings(options: Options) -> Settings:
        require_rank(options, rank + 1)
        spatial_data_format(options, rank)
        return _rate(options)

    return settings


def _gaussian_noise(options: Options) -> Settings:
    return {"stddev": float(options.take("stddev", 0.0, "sigma"))}


def _activity_regularization(options: Options) -> Settings:
    options.take("l1")  # a loss beside the output, which stays what it was
    options.take("l2")
    return {}


REGULARIZING_TYPES: Mapping[str, LayerType] = {
    class_name: LayerType(class_name, settings, same_shape, in_training=("rate", "stddev"), two_modes=True)
    for class_name, settings in {
        "Dropout": _rate,
        "SpatialDropout1D": _spatial(1),
        "SpatialDropout2D": _spatial(2),
        "SpatialDropout3D": _spatial(3),
        "GaussianNoise": _gaussian_noise,
        "GaussianDropout": _rate,
        "AlphaDropout": _rate,
        "ActivityRegularization": _activity_regularization,
    }.items()
}
