"""The Keras configuration of an architecture, made without Keras.

One table gives what each layer class says besides the graph's own numbers. Two flavours are rendered from it:
Keras 3's (`.keras`, `model_from_json`) and Keras 2's, which stands in a legacy `.h5` and which Keras 3 reads too.
Only arguments that every Keras from 2.4 on, or every Keras 3, accepts are written: a newer one's extra argument
would stop an older one from loading the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from weight_transfer import graph
from weight_transfer.architecture import Architecture
from weight_transfer.graph import Layer

DTYPE = "float32"  # of a model that computes in nothing else

# Class of each initializer. Source: keras/src/initializers/random_initializers.py.
INITIALIZERS: Mapping[str, str] = {"he_normal": "HeNormal", "glorot_uniform": "GlorotUniform"}


def _initializer(class_name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.initializers", "class_name": class_name, "config": config, "registered_name": None}


_ZEROS, _ONES = _initializer("Zeros"), _initializer("Ones")

# Arguments of each class that no ResNet varies, at Keras's defaults, which older files are read with as well.
# Source: get_config of each class, keras 3.15.1 and tf_keras 2.21.0; both agree on these.
CONSTANTS: Mapping[str, Mapping[str, Any]] = {
    "ZeroPadding2D": {"data_format": "channels_last"},
    "Conv2D": {
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "bias_initializer": _ZEROS,
    },
    "BatchNormalization": {
        "center": True,
        "scale": True,
        "beta_initializer": _ZEROS,
        "gamma_initializer": _ONES,
        "moving_mean_initializer": _ZEROS,
        "moving_variance_initializer": _ONES,
    },
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "MaxPooling2D": {"data_format": "channels_last"},
    "Add": {},
    "GlobalAveragePooling2D": {"data_format": "channels_last", "keepdims": False},
    "GlobalMaxPooling2D": {"data_format": "channels_last", "keepdims": False},
    "Dropout": {"seed": None, "noise_shape": None},
    "Dense": {"kernel_initializer": _initializer("GlorotUniform", seed=None), "bias_initializer": _ZEROS},
}


def keras_config(architecture: Architecture, frozen: Collection[str] = (), dtype: str = DTYPE) -> dict[str, Any]:
    """Returns the configuration that Keras 3 rebuilds the model from.

    Example:
        >>> model = keras.models.model_from_json(json.dumps(keras_config(design(50))))

    Args:
        architecture: What to render.
        frozen: Names of the layers that do not learn.
        dtype: In which the model computes.

    Returns:
        A JSON-ready dictionary with new contents at each call; ``config/layers`` stand in the order of
        ``model.layers``, and the model is named ``resnet`` and its depth.

    Raises:
        ArchitectureError: The input is too small for the network.

    Source: keras/src/models/functional.py, Functional.get_config, keras 3.15.1.
    """
    rows = graph.layers(architecture)
    shapes = {row.name: row.out_shape for row in rows}
    rendered = [_keras_3_layer(row, _Flavour(architecture, frozen, dtype), shapes) for row in graph.keras_order(rows)]
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": _functional(architecture, rows, rendered),
        "registered_name": "Functional",
    }


def legacy_keras_config(architecture: Architecture, frozen: Collection[str] = (), dtype: str = DTYPE) -> dict[str, Any]:
    """Returns the configuration that a legacy ``.h5`` holds as ``model_config``, in Keras 2's shape.

    Keras 3 loads it as well; what Keras 3 itself writes into a legacy file Keras 2 cannot load.

    Args:
        architecture: What to render.
        frozen: Names of the layers that do not learn.
        dtype: In which the model computes.

    Returns:
        A JSON-ready dictionary, else as `keras_config`.

    Raises:
        ArchitectureError: The input is too small for the network.

    Source: tf_keras/src/engine/functional.py, get_network_config, tf_keras 2.21.0.
    """
    rows = graph.layers(architecture)
    rendered = [_keras_2_layer(row, _Flavour(architecture, frozen, dtype)) for row in graph.keras_order(rows)]
    return {"class_name": "Functional", "config": _functional(architecture, rows, rendered)}


def model_name(architecture: Architecture) -> str:
    """Returns the Keras model's name: ``resnet50`` for the tutorial's."""
    return f"resnet{architecture.depth}"


def _functional(architecture: Architecture, rows: tuple[Layer, ...], rendered: list[dict[str, Any]]) -> dict[str, Any]:
    # A bare [name, node, tensor] makes input and output single tensors; Keras 3 turns Keras 2's list of one
    # into a model that returns a list of one.
    return {
        "name": model_name(architecture),
        "trainable": True,
        "layers": rendered,
        "input_layers": [rows[0].name, 0, 0],
        "output_layers": [rows[-1].name, 0, 0],
    }


class _Flavour(NamedTuple):
    """What the layers of one file have in common."""

    architecture: Architecture
    frozen: Collection[str]
    dtype: str


def _keras_3_layer(row: Layer, flavour: _Flavour, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Any]:
    tensors: list[Any] = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None, *shapes[name]], "dtype": flavour.dtype, "keras_history": [name, 0, 0]},
        }
        for name in row.inputs
    ]
    arguments = [tensors] if len(tensors) > 1 else tensors  # a merging layer is called on one list
    return {
        "module": "keras.layers",
        "class_name": row.class_name,
        "config": _settings(row, flavour, "batch_shape"),
        "registered_name": None,
        "name": row.name,
        "inbound_nodes": [{"args": arguments, "kwargs": {}}] if tensors else [],
    }


def _keras_2_layer(row: Layer, flavour: _Flavour) -> dict[str, Any]:
    return {
        "class_name": row.class_name,
        "config": _settings(row, flavour, "batch_input_shape"),
        "name": row.name,
        "inbound_nodes": [[[name, 0, 0, {}] for name in row.inputs]] if row.inputs else [],
    }


def _settings(row: Layer, flavour: _Flavour, shape_key: str) -> dict[str, Any]:
    """The layer's constructor arguments; ``shape_key`` is the generation's word for an input's shape."""
    if row.class_name == "InputLayer":
        return {"name": row.name, "dtype": flavour.dtype, "sparse": False, shape_key: [None, *row.out_shape]}
    own = {"name": row.name, "trainable": row.name not in flavour.frozen, "dtype": flavour.dtype}
    settings = {**own, **row.config, **CONSTANTS[row.class_name]}
    if row.class_name == "Conv2D":
        class_name = INITIALIZERS[flavour.architecture.conventions.kernel_initializer]
        settings["kernel_initializer"] = _initializer(class_name, seed=None)
    return settings
