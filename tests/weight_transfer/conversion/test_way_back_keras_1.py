"""Classes that no Keras writes any more: Keras 1's, and TensorFlow 1's names. Today's Keras loads what comes back.

A network is written by tf_keras and its config put into the old words; what comes back is held against the network as
it was before that: every argument that acts, every array, every output.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras_round_trips
import pytest
from keras_round_trips import LayerCase

from weight_transfer import convert, export, read_checkpoint
from weight_transfer.checkpoint.layer_names import layers_of

IMAGE, SERIES, VOLUME = (9, 7, 4), (11, 4), (5, 6, 7, 4)
CONVS: list[LayerCase] = [
    ("Conv1D", [SERIES], {"filters": 6, "kernel_size": 3, "padding": "same", "strides": 2, "activation": "tanh"}, None),
    ("Conv2D", [IMAGE], {"filters": 5, "kernel_size": [3, 2], "strides": [2, 1], "use_bias": False}, None),
    ("Conv3D", [VOLUME], {"filters": 3, "kernel_size": [2, 3, 1], "padding": "same", "strides": [1, 2, 1]}, None),
    ("SeparableConv2D", [IMAGE], {"filters": 6, "kernel_size": [3, 3], "depth_multiplier": 2, "padding": "same"}, None),
]
SEPARABLE_1D: LayerCase = ("SeparableConv1D", [SERIES], {"filters": 6, "kernel_size": 4, "depth_multiplier": 3}, None)
NORM_1: LayerCase = ("BatchNormalization", [IMAGE], {"axis": 2, "epsilon": 1e-5}, None)
NORM: LayerCase = ("BatchNormalization", [IMAGE], {"axis": 2, "epsilon": 1e-5, "center": False}, None)
MERGES: list[LayerCase] = [
    ("Add", [IMAGE] * 3, {}, None),
    ("Multiply", [IMAGE] * 2, {}, None),
    ("Average", [IMAGE] * 2, {}, None),
    ("Maximum", [IMAGE] * 2, {}, None),
    ("Concatenate", [IMAGE] * 2, {"axis": 2}, None),
]
MODES = {"Add": "sum", "Multiply": "mul", "Average": "ave", "Maximum": "max", "Concatenate": "concat"}
OF_KERAS_1 = {
    "filters": "nb_filter",
    "units": "output_dim",
    "use_bias": "bias",
    "padding": "border_mode",
    "kernel_regularizer": "W_regularizer",
    "bias_regularizer": "b_regularizer",
    "kernel_constraint": "W_constraint",
    "bias_constraint": "b_constraint",
    "rate": "p",
}
SIZES = {1: ("filter_length",), 2: ("nb_row", "nb_col"), 3: ("kernel_dim1", "kernel_dim2", "kernel_dim3")}
NEVER = ("dilation_rate", "groups", "dtype", "activity_regularizer")  # in a file of Keras 1


def in_keras_1(class_name: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and config as Keras 1.2 wrote them, where that could write them."""
    if class_name in MODES:
        axis = config.get("axis", -1)
        rest = {"mode_type": "raw", "dot_axes": -1, "output_shape": None, "output_shape_type": "raw", "arguments": {}}
        return "Merge", {"name": config["name"], "mode": MODES[class_name], "concat_axis": axis, "layers": [], **rest}
    if class_name == "BatchNormalization":
        kept = ("name", "trainable", "momentum", "epsilon", "gamma_regularizer", "beta_regularizer")
        return class_name, {key: _old_object(config[key]) for key in kept} | {"mode": 0, "axis": config["axis"][0]}
    if "Conv" not in class_name and class_name != "Dense":
        return class_name, dict(config)
    given = {key: value for key, value in config.items() if key not in NEVER and not key.endswith("_initializer")}
    words = {"init": "glorot_uniform", **{OF_KERAS_1.get(key, key): _old_object(value) for key, value in given.items()}}
    if class_name == "Dense":
        return class_name, words
    sizes, steps = words.pop("kernel_size"), words.pop("strides")
    words |= dict(zip(SIZES[len(sizes)], sizes, strict=True))
    words |= {"subsample_length": steps[0]} if len(sizes) == 1 else {"subsample": steps}
    words |= {"dim_ordering": "tf"} if words.pop("data_format", None) else {}
    return class_name.replace("Conv", "Convolution"), words


def _old_object(value: Any) -> Any:
    """A regularizer or a constraint as Keras 1 had it."""
    if not isinstance(value, Mapping):
        return value
    inside = value["config"]
    if value["class_name"] == "MaxNorm":
        return {"name": "MaxNorm", "m": inside["max_value"], "axis": inside["axis"]}
    return {"name": "WeightRegularizer", "l1": inside.get("l1", 0.0), "l2": inside.get("l2", 0.0)}


def by_older_name(names: Mapping[str, str]) -> Callable[[str, Mapping[str, Any]], tuple[str, dict[str, Any]]]:
    """The class alone by another name, its arguments as Keras 2 has them."""
    return lambda class_name, config: (names.get(class_name, class_name), dict(config))


def rewritten(source: Path, path: Path, version: str, words: Callable[..., tuple[str, dict[str, Any]]]) -> Path:
    """A legacy file in which each layer's class and config are put into other words, as an older Keras wrote it."""
    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["class_name"] = "Model"
        for layer in config["config"]["layers"]:
            if layer["class_name"] != "InputLayer":
                layer["class_name"], layer["config"] = words(layer["class_name"], layer["config"])
                layer["inbound_nodes"] = [[call[:3] for call in node] for node in layer["inbound_nodes"]]
        file.attrs["model_config"] = json.dumps(config)
        for group in (file, file["model_weights"]):
            group.attrs["keras_version"] = version
    return path


def without(name: str, shapes: Any, arguments: Mapping[str, Any], data_format: str | None) -> LayerCase:
    """A layer without what Keras 1 had not, or had otherwise."""
    never = {
        "BatchNormalization": ("gamma_constraint", "beta_constraint"),
        **dict.fromkeys((case[0] for case in CONVS), ("activity_regularizer",)),
    }
    return name, shapes, {**arguments, **dict.fromkeys(never.get(name, ()))}, data_format


CONVOLUTIONS = {f"Conv{rank}D": f"Convolution{rank}D" for rank in (1, 2, 3)}
SEPARABLE = {f"SeparableConv{rank}D": f"SeparableConvolution{rank}D" for rank in (1, 2)}
# The layers, the version of the Keras, the words that it used, and the classes that its file has.
OLD: dict[str, tuple[list[LayerCase], str, Callable[..., tuple[str, dict[str, Any]]], set[str]]] = {
    "Keras 1": (
        [without(*case) for case in (*CONVS, NORM_1, *MERGES)],
        "1.2.2",
        in_keras_1,
        {*CONVOLUTIONS.values(), "SeparableConvolution2D", "BatchNormalization", "Dense", "Merge"},
    ),
    "names of Keras 1": (
        [*CONVS, SEPARABLE_1D],
        "2.0.8",
        by_older_name({**CONVOLUTIONS, **SEPARABLE}),
        {*CONVOLUTIONS.values(), *SEPARABLE.values()},
    ),
    "TensorFlow 1": (
        [NORM],
        "2.2.4-tf",
        by_older_name({"BatchNormalization": "BatchNormalizationV1"}),
        {"BatchNormalizationV1"},
    ),
    "TensorFlow 2.0": (
        [NORM],
        "2.2.4-tf",
        by_older_name({"BatchNormalization": "BatchNormalizationV2"}),
        {"BatchNormalizationV2"},
    ),
}


@pytest.fixture(scope="module")
def saved(keras_side, tmp_path_factory):
    """Each network as tf_keras wrote it, by its kind."""
    groups = [layers for layers, *_ in OLD.values()]
    found = keras_side(keras_round_trips.saved_layers, "tf_keras", groups, tmp_path_factory.mktemp("today"))
    return dict(zip(OLD, found, strict=True))


@pytest.mark.parametrize("kind", OLD)
def test_todays_keras_finds_what_an_older_one_wrote(kind, saved, tmp_path, keras_side):
    layers, version, words, classes = OLD[kind]
    (today,) = (path for path in saved[kind] if path.suffix == ".h5")
    old = rewritten(today, tmp_path / "old.h5", version, words)
    with read_checkpoint(old) as checkpoint:
        assert classes <= {str(layer["class_name"]) for _, layer in layers_of(checkpoint.config)}
    convert(old, tmp_path / "port.safetensors")
    backs = [export(tmp_path / "port.safetensors", tmp_path / f"back{ending}") for ending in keras_round_trips.ENDINGS]
    for found in keras_side(
        keras_round_trips.judged, "tf_keras", [((today,), back) for back in backs], but="_initializer"
    ):
        assert found.lines == []
        assert found.num_outputs == len(layers) + 1
