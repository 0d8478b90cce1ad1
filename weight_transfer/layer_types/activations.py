"""Activations: by name, as `Activation` layers and the ``activation`` argument of other layers hold them, or as layers.

Whatever the way, the settings are those of one table: a name of `ACTIVATIONS` and what it needs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from weight_transfer.layer_types.axes import same_shape
from weight_transfer.layer_types.layer_type import LayerType, Options, Settings


def rounded(number: float) -> float:
    """Returns a number as TensorFlow holds it where it takes a constant in float32, whatever the precision."""
    return ctypes.c_float(number).value  # not NumPy's: a standalone package has this function, and no NumPy


# Every standard name with its defaults; resnet_torch/layers/activations.py computes them.
# Source: keras/src/activations/activations.py; tf_keras/src/activations.py.
ACTIVATIONS: Mapping[str, Settings] = {
    "linear": {},
    "relu": {},
    "relu6": {},
    "leaky_relu": {"negative_slope": rounded(0.2)},
    "elu": {"alpha": 1.0},
    "selu": {},
    "celu": {"alpha": 1.0},
    "gelu": {"approximate": False},
    "silu": {},
    "mish": {},
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "sparsemax": {"axis": -1},
    "softplus": {},
    "softsign": {},
    "sigmoid": {},
    "sparse_sigmoid": {},
    "hard_sigmoid": {"slope": 1 / 6},
    "hard_silu": {},
    "tanh": {},
    "hard_tanh": {},
    "exponential": {},
    "log_sigmoid": {},
    "tanh_shrink": {},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "squareplus": {"b": 4.0},
    "sparse_plus": {},
}
ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}

# Keras 1, Keras 2 and tf_keras: 0.2 x + 0.5. Source: tf_keras/src/backend.py, hard_sigmoid.
KERAS_2_HARD_SIGMOID_SLOPE = 0.2


def activation_of(options: Options, default: str = "linear") -> Settings | None:
    """Reads the ``activation`` argument: None for linear, else its name and what that needs.

    Raises:
        ArchitectureError: It is no standard activation.
    """
    value = options.take("activation", default)
    if isinstance(value, Mapping) and value.get("class_name") in _LAYERS:
        return _of_layer(options, value)
    name = activation_name(value)
    name = ALIASES.get(name, name)
    if name == "linear":
        return None
    if name not in ACTIVATIONS:
        raise options.refusal(f"activation {name!r} is not one of Keras's own")
    settings = {"name": name, **ACTIVATIONS[name]}
    if "axis" in settings:
        settings["axis"] = options.axis(settings["axis"])
    if name == "hard_sigmoid" and not is_keras_3(options):
        settings["slope"] = KERAS_2_HARD_SIGMOID_SLOPE
    return settings


def activation_name(value: Any) -> str:
    """The name in any schema: ``"relu"``, ``{"class_name": "relu", "config": "relu"}``, and so on."""
    if isinstance(value, Mapping):
        inside = value.get("config")
        if isinstance(inside, str):
            return inside
        name = value.get("class_name")
        return str(name if name not in (None, "function") else inside)
    return str(value)


def _of_layer(options: Options, value: Mapping[str, Any]) -> Settings | None:
    """Reads an activation that is itself a layer, as in ``Dense(8, activation=LeakyReLU(0.1))``."""
    class_name = str(value["class_name"])
    inner = Options(options.path, class_name, value.get("config") or {}, options.in_shapes, options.data_format)
    settings = _LAYERS[class_name](inner)
    inner.finish()
    return settings


def is_keras_3(options: Options) -> bool:
    """Tells from the version where the importer names one, else from how the layer's dtype is written."""
    version = options.take("keras_version")
    if version is not None:
        return not str(version).startswith(("1.", "2."))
    dtype = options.take("dtype")
    # A Policy is tf.keras's, a DTypePolicy (or a quantized one) Keras 3's.
    return isinstance(dtype, Mapping) and str(dtype.get("class_name")).endswith("DTypePolicy")


def _number(options: Options, default: float, key: str, *aliases: str) -> float:
    """A number that some versions write as a list of one."""
    value = options.take(key, default, *aliases)
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise options.refusal(f"{key}={value!r} is not supported. Expected one number")
        value = value[0]
    return float(value)


def _activation(options: Options) -> Settings:
    return {"activation": activation_of(options)}


def _relu(options: Options) -> Settings:
    slope, threshold = _number(options, 0.0, "negative_slope"), _number(options, 0.0, "threshold")
    max_value = None if options.take("max_value") is None else _number(options, 0.0, "max_value")
    if threshold == 0 and max_value is None:
        return {"name": "leaky_relu", "negative_slope": rounded(slope)} if slope else {"name": "relu"}
    if threshold == 0 and max_value == 6 and not slope:
        return {"name": "relu6"}
    return {"name": "clipped_relu", "max_value": max_value, "negative_slope": slope, "threshold": threshold}


def _leaky_relu(options: Options) -> Settings:
    return {"name": "leaky_relu", "negative_slope": rounded(_number(options, 0.3, "negative_slope", "alpha"))}


def _elu(options: Options) -> Settings:
    return {"name": "elu", "alpha": _number(options, 1.0, "alpha")}


def _thresholded_relu(options: Options) -> Settings:
    threshold = _number(options, 1.0, "theta")
    return {"name": "clipped_relu", "max_value": None, "negative_slope": 0.0, "threshold": threshold}


def _softmax(options: Options) -> Settings:
    return {"name": "softmax", "axis": options.axis(int(_number(options, -1, "axis")))}


_LAYERS: Mapping[str, Callable[[Options], Settings]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "ThresholdedReLU": _thresholded_relu,
    "Softmax": _softmax,
}

ACTIVATION_TYPES: Mapping[str, LayerType] = {
    class_name: LayerType(class_name, settings, same_shape)
    for class_name, settings in {"Activation": _activation, **_LAYERS}.items()
}
