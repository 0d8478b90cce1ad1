"""The layer classes that both generations of Keras have: which arguments each takes, and what differs.

One row per class. An argument that stands in no row is dropped where it changes nothing, and refused by name where it
may act.

Source: the constructors in keras/src/layers (keras 3.15.1), tf_keras/src/layers (tf_keras 2.21.0) and
keras/layers (keras 1.2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from weight_transfer.layer_types.normalizations import BATCH_NORMALIZATIONS

Neutral: TypeAlias = Mapping[str, tuple[Any, ...]]  # by argument, the values that change nothing, beside None

ANY = object()  # in a row: whatever the value is, it changes nothing
OF_ANY_LAYER = ("name", "trainable", "dtype", "activity_regularizer")

# What Keras 1 calls arguments of several classes.
KERAS_1_ARGUMENTS: Mapping[str, str] = {
    "nb_filter": "filters",
    "output_dim": "units",
    "bias": "use_bias",
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "stride": "strides",
    "pool_length": "pool_size",
    "length": "size",
    "dim_ordering": "data_format",
    "p": "rate",
    "sigma": "stddev",
    "init": "kernel_initializer",
    "beta_init": "beta_initializer",
    "gamma_init": "gamma_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
}
KERAS_1_CLASSES: Mapping[str, str] = {
    **{f"Convolution{rank}D": f"Conv{rank}D" for rank in (1, 2, 3)},
    **{f"SeparableConvolution{rank}D": f"SeparableConv{rank}D" for rank in (1, 2)},
}
# Earlier names of classes; what `Merge` is stands in its mode.
CLASSES: Mapping[str, str] = {**KERAS_1_CLASSES, **dict.fromkeys(BATCH_NORMALIZATIONS, "BatchNormalization")}

# Arguments of any layer that say how it was made or called, and nothing of what it computes.
WITHOUT_EFFECT = frozenset(
    {
        "batch_input_shape", "batch_shape", "input_shape", "input_dim", "input_length", "input_dtype", "weights",
        "build_config", "rng_type", "autocast", "lora_alpha", "sparse",
    }
)  # fmt: skip


@dataclass(frozen=True)
class LayerRow:
    """What the two generations have of one class.

    Attributes:
        class_name: In both.
        arguments: In both, beside `OF_ANY_LAYER`, in Keras 3's words.
        keras_2_names: Keras 2's word by Keras 3's.
        keras_1_names: Keras 3's word by Keras 1's, where that is another than for most classes.
        keras_2: Arguments that Keras 2 alone takes, with the values that change nothing.
        keras_3: The same of Keras 3.
        neutral: Values that are never written, since an earlier release does not know the argument.
        not_in_keras_3: Arguments that Keras 3 takes of any other layer.
        defaults: What an argument is that the config leaves out, written so that no later default can act.
    """

    class_name: str
    arguments: frozenset[str]
    keras_2_names: Mapping[str, str] = field(default_factory=dict)
    keras_1_names: Mapping[str, str] = field(default_factory=dict)
    keras_2: Neutral = field(default_factory=dict)
    keras_3: Neutral = field(default_factory=dict)
    neutral: Neutral = field(default_factory=dict)
    not_in_keras_3: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _weights(*roles: str) -> tuple[str, ...]:
    """The arguments about arrays of these roles."""
    return tuple(f"{role}_{kind}" for role in roles for kind in ("initializer", "regularizer", "constraint"))


_WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")
_CONV = ("filters", *_WINDOW, *_weights("kernel", "bias"))
_NORM = ("axis", "epsilon", "center", "scale", *_weights("beta", "gamma"))
_NORM_DEFAULTS: Mapping[str, Any] = {"epsilon": 1e-3, "center": True, "scale": True}
_FILLED = ("fill_mode", "fill_value", "interpolation", "seed")
_UNGROUPED: Neutral = {"groups": (1,)}  # tf_keras writes it of classes that have no groups
_CHANNELS_LAST: Neutral = {"data_format": ("channels_last",)}  # what the other takes for granted


def _row(class_name: str, *arguments: str, **others: Any) -> LayerRow:
    return LayerRow(class_name, frozenset((*OF_ANY_LAYER, *arguments)), **others)


def _convolutions() -> tuple[LayerRow, ...]:
    depthwise = ("depth_multiplier", *_WINDOW, *_weights("depthwise", "bias"))
    separable = ("filters", "depth_multiplier", *_WINDOW, *_weights("depthwise", "pointwise", "bias"))
    of_no_array = dict.fromkeys(_weights("kernel"), (ANY,))  # tf_keras writes them of a layer without a kernel
    return (
        *(_row(f"Conv{rank}D", "groups", *_CONV) for rank in (1, 2, 3)),
        *(_row(f"DepthwiseConv{rank}D", *depthwise, keras_2={**_UNGROUPED, **of_no_array}) for rank in (1, 2)),
        *(_row(f"SeparableConv{rank}D", *separable, keras_2={**_UNGROUPED, **of_no_array}) for rank in (1, 2)),
        *(_row(f"Conv{rank}DTranspose", "output_padding", *_CONV, keras_2=_UNGROUPED) for rank in (1, 2, 3)),
    )


def _normalizations() -> tuple[LayerRow, ...]:
    statistics = ("momentum", "moving_mean_initializer", "moving_variance_initializer")
    newer = {"synchronized": (False,), "renorm": (False,)}
    with_renorm = {"renorm_clipping": (ANY,), "renorm_momentum": (ANY,)}  # these act with renorm alone
    return (
        _row(
            "BatchNormalization",
            *_NORM,
            *statistics,
            "synchronized",
            neutral={**newer, **with_renorm, "mode": (0,)},
            defaults={**_NORM_DEFAULTS, "axis": -1, "momentum": 0.99},
        ),
        _row("LayerNormalization", *_NORM, keras_3={"rms_scaling": (False,)}, defaults=_NORM_DEFAULTS),
        _row("GroupNormalization", "groups", *_NORM, defaults={**_NORM_DEFAULTS, "groups": 32}),
        _row("Normalization", "axis", "mean", "variance", "invert"),
    )


def _augmentations() -> tuple[LayerRow, ...]:
    kinds = {
        "RandomFlip": ("mode", "seed"),
        "RandomRotation": ("factor", *_FILLED),
        "RandomZoom": ("height_factor", "width_factor", *_FILLED),
        "RandomTranslation": ("height_factor", "width_factor", *_FILLED),
        "RandomCrop": ("height", "width", "seed"),
        "RandomBrightness": ("factor", "value_range", "seed"),
    }
    clipping = {"value_range": ([0, 255],), **_CHANNELS_LAST}
    return (
        *(_row(name, *arguments, keras_3=_CHANNELS_LAST) for name, arguments in kinds.items()),
        _row("RandomContrast", "factor", "seed", keras_3=clipping),
    )


def _resizing() -> LayerRow:
    padding = {"pad_to_aspect_ratio": (False,), "fill_mode": (ANY,), "fill_value": (ANY,), "antialias": (False,)}
    arguments = ("height", "width", "interpolation", "crop_to_aspect_ratio")
    return _row("Resizing", *arguments, keras_3={**padding, **_CHANNELS_LAST})


def _regularizing() -> tuple[LayerRow, ...]:
    # Keras 3's constructors of these take no more.
    spatial: Mapping[str, Any] = {
        "not_in_keras_3": frozenset({"trainable", "activity_regularizer"}),
        "keras_2": {"noise_shape": ()},
    }
    return (
        *(_row(name, "rate", "noise_shape", "seed") for name in ("Dropout", "AlphaDropout")),
        _row("GaussianDropout", "rate", "seed"),
        _row("GaussianNoise", "stddev", "seed"),
        _row("ActivityRegularization", "l1", "l2"),
        _row("SpatialDropout1D", "rate", "seed", **spatial),
        *(_row(f"SpatialDropout{rank}D", "rate", "seed", "data_format", **spatial) for rank in (2, 3)),
    )


def _shapes() -> tuple[LayerRow, ...]:
    return (
        _row("ZeroPadding1D", "padding", keras_3=_CHANNELS_LAST),
        *(_row(f"ZeroPadding{rank}D", "padding", "data_format") for rank in (2, 3)),
        _row("Cropping1D", "cropping"),
        *(_row(f"Cropping{rank}D", "cropping", "data_format") for rank in (2, 3)),
        _row("UpSampling1D", "size"),
        _row("UpSampling2D", "size", "data_format", "interpolation"),
        _row("UpSampling3D", "size", "data_format"),
        _row("Flatten", "data_format"),
        _row("Reshape", "target_shape"),
        _row("Permute", "dims"),
        _row("RepeatVector", "n"),
    )


def _poolings() -> tuple[LayerRow, ...]:
    window = ("pool_size", "strides", "padding", "data_format")
    both = [(kind, rank) for kind in ("Max", "Average") for rank in (1, 2, 3)]
    return (
        *(_row(f"{kind}Pooling{rank}D", *window, defaults={"pool_size": [2] * rank}) for kind, rank in both),
        *(
            _row(f"Global{kind}Pooling{rank}D", "data_format", "keepdims", neutral={"keepdims": (False,)})
            for kind, rank in both
        ),
    )


LAYER_ROWS: Mapping[str, LayerRow] = {
    row.class_name: row
    for row in (
        _row("Activation", "activation"),
        _row("ReLU", "max_value", "negative_slope", "threshold"),
        _row(
            "LeakyReLU",
            "negative_slope",
            keras_2_names={"negative_slope": "alpha"},
            defaults={"negative_slope": 0.3},
        ),
        _row("ELU", "alpha", defaults={"alpha": 1.0}),
        _row("Softmax", "axis", keras_2={"robust_masking": (ANY,)}),  # there is no mask
        _row("PReLU", "shared_axes", *_weights("alpha"), keras_1_names={"init": "alpha_initializer"}),
        _row("Dense", "units", "activation", "use_bias", *_weights("kernel", "bias")),
        _row("ThresholdedReLU", "theta", defaults={"theta": 1.0}),  # Keras 3 writes it as a ReLU
        *(_row(name) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")),
        _row("Concatenate", "axis"),
        _row("Rescaling", "scale", "offset"),
        _resizing(),
        *_convolutions(),
        *_normalizations(),
        *_poolings(),
        *_augmentations(),
        *_regularizing(),
        *_shapes(),
    )
}
