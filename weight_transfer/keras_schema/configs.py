"""The config of a layer in another schema, by the rows of `layers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weight_transfer.keras_schema.layers import (
    ANY,
    CLASSES,
    KERAS_1_ARGUMENTS,
    LAYER_ROWS,
    WITHOUT_EFFECT,
    LayerRow,
    Neutral,
)
from weight_transfer.keras_schema.objects import activation, in_argument
from weight_transfer.keras_schema.target import Target
from weight_transfer.layer_types import DataFormat
from weight_transfer.layer_types.convolutions import KERAS1_KERNEL_SIZE
from weight_transfer.layer_types.merges import KERAS_1_MODES
from weight_transfer.layer_types.normalizations import SCALE

ONE_AXIS = ("BatchNormalization", "GroupNormalization")  # of which tf_keras writes a list of one axis
SHAPES = {"keras2": "batch_input_shape", "keras3": "batch_shape"}  # what an input calls its shape
DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}  # Keras 1's


def layer_config(
    path: str, class_name: str, config: Mapping[str, Any], target: Target, data_format: DataFormat
) -> tuple[str, dict[str, Any]]:
    """Returns a layer's class and config as the target has them.

    Args:
        path: Of the layer.
        class_name: In the file.
        config: In the file.
        target: What is written.
        data_format: Of the model.

    Raises:
        ArchitectureError: An argument acts that the target has not.
    """
    if class_name == SCALE:  # a user's own
        return class_name, dict(config)
    name, given = _known_class(class_name, config, target)
    row = LAYER_ROWS[name]
    words = {**row.defaults, "trainable": True, **_keras_3_words(row, given)}
    if "data_format" in row.arguments and name != "Flatten" and words.get("data_format") in (None, "default"):
        words["data_format"] = data_format
    written: dict[str, Any] = {}
    for key, value in words.items():
        if not _drops(row, key, value, target, path, class_name):
            value = _value(name, key, value, target, path, data_format)
            written[row.keras_2_names.get(key, key) if target.schema == "keras2" else key] = value
    return name, written


def _known_class(class_name: str, config: Mapping[str, Any], target: Target) -> tuple[str, Mapping[str, Any]]:
    """The class that both generations have for an older one, and its arguments."""
    if class_name == "Merge":
        operation = KERAS_1_MODES[config.get("mode", "sum")]
        axis = {"axis": config.get("concat_axis", -1)} if operation == "concatenate" else {}
        return operation.capitalize(), {"name": config["name"], **axis}
    if class_name == "ThresholdedReLU" and target.schema == "keras3":
        threshold = {"max_value": None, "negative_slope": 0.0, "threshold": config.get("theta", 1.0)}
        return "ReLU", {**{key: value for key, value in config.items() if key != "theta"}, **threshold}
    return CLASSES.get(class_name, class_name), config


def _keras_3_words(row: LayerRow, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with Keras 3's names for its arguments."""
    keras_2_names = {old: new for new, old in row.keras_2_names.items()}
    names = {**KERAS_1_ARGUMENTS, **row.keras_1_names, **keras_2_names}
    words: dict[str, Any] = {}
    for key, value in config.items():
        words[key if key in row.arguments else names.get(key, key)] = value
    for parts in KERAS1_KERNEL_SIZE.values():
        if all(part in words for part in parts):
            words["kernel_size"] = [words.pop(part) for part in parts]
    if words.get("data_format") in DATA_FORMATS:
        words["data_format"] = DATA_FORMATS[words["data_format"]]
    return words


def _drops(row: LayerRow, key: str, value: Any, target: Target, path: str, class_name: str) -> bool:
    """Whether an argument is left out, since it changes nothing."""
    own, others = (row.keras_2, row.keras_3) if target.schema == "keras2" else (row.keras_3, row.keras_2)
    if key in row.neutral and _is_neutral(row.neutral, key, value):
        return True
    if target.schema == "keras3" and key in row.not_in_keras_3:
        if key == "trainable" or value is None:  # there is nothing in it to train
            return True
        raise target.refusal(path, class_name, f"{key}={value!r}")
    if key in row.arguments or key in own:
        return False
    if key in WITHOUT_EFFECT or _is_neutral({**row.neutral, **others}, key, value):
        return True
    raise target.refusal(path, class_name, f"{key}={value!r}")


def _is_neutral(values: Neutral, key: str, value: Any) -> bool:
    known = values.get(key, (False,))
    return value is None or ANY in known or any(value == one for one in known)


def _value(name: str, key: str, value: Any, target: Target, path: str, data_format: DataFormat) -> Any:
    if key == "activation":
        return _activation(value, target, path, name, data_format)
    if key == "axis" and name in ONE_AXIS and isinstance(value, (list, tuple)) and len(value) == 1:
        return value[0]
    return in_argument(key, value, target, path)


def _activation(value: Any, target: Target, path: str, class_name: str, data_format: DataFormat) -> Any:
    """An activation by name, or as a layer of its own."""
    inner = value.get("class_name") if isinstance(value, Mapping) else None
    if inner not in LAYER_ROWS:
        return activation(value, target, path, class_name)
    name, config = layer_config(path, str(inner), value.get("config") or {}, target, data_format)
    return target.object(name, config, "keras.layers")


def input_config(config: Mapping[str, Any], shape: Any, target: Target) -> dict[str, Any]:
    """Returns the config of an input.

    Args:
        config: In the file.
        shape: With the batch's size.
        target: What is written.
    """
    dtype = config.get("dtype", config.get("input_dtype"))
    flags = {key: True for key in ("ragged", "optional") if config.get(key)}
    return {
        SHAPES[target.schema]: shape,
        "dtype": dtype if isinstance(dtype, str) else "float32",
        "sparse": bool(config.get("sparse")),
        **flags,
        "name": config["name"],
    }
