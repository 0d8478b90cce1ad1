"""Normalizations: by batch, by layer, by group, and by the statistics of a data set; and a bare scale and shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weight_transfer.layer_types.axes import axes_of, known_size, same_shape, weight_along
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings, Shape, Weight


def _batch_settings(options: Options) -> Settings:
    options.must_be("mode", 0)  # Keras 1: other modes normalize each example, or never by moving statistics
    options.take("synchronized")  # across devices in training, nothing on one
    options.must_be("renorm", False)
    options.take("renorm_clipping")  # these two act with renorm alone
    options.take("renorm_momentum")
    return {
        "axis": _one_axis(options),
        "momentum": float(options.take("momentum", 0.99)),
        **_affine(options),
    }


def _layer_settings(options: Options) -> Settings:
    options.must_be("rms_scaling", False)
    return {"axis": axes_of(options, _axes(options)), **_affine(options)}


def _group_settings(options: Options) -> Settings:
    axis = _one_axis(options)
    channels = known_size(options, _axes(options)[0])
    groups = options.take("groups", 32)
    groups = channels if groups == -1 else groups  # Keras, too, writes the number once the layer is built
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise options.refusal(f"groups={groups!r} does not divide {channels} channels")
    return {"axis": axis, "groups": groups, **_affine(options)}


def _affine(options: Options) -> Settings:
    return {
        "epsilon": float(options.take("epsilon", 1e-3)),
        "center": bool(options.take("center", True)),
        "scale": bool(options.take("scale", True)),
        "data_format": options.data_format,
    }


def _axes(options: Options) -> list[int]:
    axis = options.take("axis", -1)
    return list(axis) if isinstance(axis, list | tuple) else [axis]


def _one_axis(options: Options) -> int:
    axes = axes_of(options, _axes(options))
    if len(axes) != 1:
        raise options.refusal(f"axis={_axes(options)} is not supported. Expected one axis")
    return axes[0]


def _affine_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    named = {"gamma": ("scale", "weight"), "beta": ("center", "bias")}
    return {role: weight_along(settings, in_shapes[0], name) for role, (key, name) in named.items() if settings[key]}


def _batch_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    return {
        **_affine_weights(settings, in_shapes),
        "moving_mean": weight_along(settings, in_shapes[0], "running_mean"),
        "moving_variance": weight_along(settings, in_shapes[0], "running_var"),
    }


def _data_settings(options: Options) -> Settings:
    """Reads `Normalization`; statistics in the config come in PyTorch's order, one for each place.

    They are rounded to float32: the numbers with which a float32 model computes, and Keras 3 any model.
    """
    settings: Settings = {"axis": axes_of(options, _axes(options)), "data_format": options.data_format}
    settings["invert"] = bool(options.take("invert", False))
    return {**settings, **{key: _statistic(options, settings, key) for key in ("mean", "variance")}}


def _statistic(options: Options, settings: Settings, key: str) -> Any:
    value = options.take(key)
    if value is None:
        return None
    weight = weight_along(settings, options.in_shapes[0], key)
    try:
        with np.errstate(over="ignore"):  # what is too large is refused afterwards, by name
            array = np.asarray(value, np.float32)
        array = array.reshape(array.shape[max(array.ndim - len(weight.shape), 0) :])
        return weight.to_torch(np.broadcast_to(array, weight.shape)).reshape(-1).tolist()
    except (TypeError, ValueError):
        raise options.refusal(f"{key}={value!r} does not fit {weight.shape}") from None


def _data_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    if settings["mean"] is not None:
        return {}
    along = {key: weight_along(settings, in_shapes[0], key) for key in ("mean", "variance")}
    return {**along, "count": Weight((), "count", whole=True)}


# Source: flyyufelix/cnn_finetune custom_layers/scale_layer.py, commit d5d8c43.
SCALE = "Scale"
_SCALE_ARGUMENTS = frozenset({"axis", "momentum"})
_SCALE_STARTS: Mapping[str, tuple[str, ...]] = {"gamma_init": ("one", "ones"), "beta_init": ("zero", "zeros")}
# What every Keras writes of any layer of one's own; the last is this project's, who wrote the file.
_OF_ANY_LAYER = frozenset({"name", "trainable", "dtype", "batch_input_shape", "input_dtype", "keras_version"})


def is_known_scale(config: Mapping[str, Any]) -> bool:
    """Whether a layer of class ``Scale`` is cnn_finetune's: its arguments and no others.

    Anybody may call a layer of their own so, and what it computes then is not known.

    Args:
        config: The layer's.
    """
    given = config.keys() - _OF_ANY_LAYER
    starts = all(config[key] in values for key, values in _SCALE_STARTS.items() if key in config)
    return starts and given - _SCALE_STARTS.keys() == _SCALE_ARGUMENTS


def _scale_settings(options: Options) -> Settings:
    if not is_known_scale(options.arguments):
        received = ", ".join(sorted(options.arguments.keys() - _OF_ANY_LAYER)) or "none"
        raise options.refusal(
            "this class is not supported; only cnn_finetune's Scale is, which has the arguments axis and momentum. "
            f"Received: {received}"
        )
    for key in ("momentum", *_SCALE_STARTS):  # it keeps no statistic that a momentum could move
        options.take(key)
    return {"axis": _one_axis(options), "data_format": options.data_format}


def _scale_weights(settings: Settings, in_shapes: Sequence[Shape]) -> dict[str, Weight]:
    return {role: weight_along(settings, in_shapes[0], name) for role, name in (("gamma", "weight"), ("beta", "bias"))}


# TensorFlow 1.13 and 1.14 wrote the names with a version.
BATCH_NORMALIZATIONS = ("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")

NORMALIZATION_TYPES: Mapping[str, LayerType] = {
    row.class_name: row
    for row in (
        *(
            LayerType(name, _batch_settings, same_shape, _batch_weights, in_training=("momentum",), two_modes=True)
            for name in BATCH_NORMALIZATIONS
        ),
        LayerType("LayerNormalization", _layer_settings, same_shape, _affine_weights),
        LayerType("GroupNormalization", _group_settings, same_shape, _affine_weights),
        LayerType("Normalization", _data_settings, same_shape, _data_weights),
        LayerType(SCALE, _scale_settings, same_shape, _scale_weights),
    )
}
