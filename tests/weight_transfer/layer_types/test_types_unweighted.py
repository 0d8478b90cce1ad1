"""Reading configs of layers without weights: all versions to the same settings, and what is refused."""

from __future__ import annotations

import json

import pytest

from weight_transfer.errors import ArchitectureError
from weight_transfer.layer_types import LAYER_TYPES, Options

KERAS_3 = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
IMAGE = ((8, 6, 3),)
PLAIN = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid", "data_format": "channels_last"}
FLIP = [{"class_name": "__ellipsis__", "config": {}}]


def read(class_name, config, in_shapes=IMAGE, data_format="channels_last"):
    """Settings and output shape of a layer."""
    options = Options("a_layer", class_name, config, in_shapes, data_format)
    row = LAYER_TYPES[class_name]
    settings = row.settings(options)
    options.finish()
    assert json.loads(json.dumps(settings)) == settings
    return settings, row.out_shape(settings, in_shapes)


@pytest.mark.parametrize(
    ("class_name", "config", "other_config"),
    [
        ("MaxPooling2D", PLAIN, {"pool_size": (2, 2), "strides": None, "border_mode": "valid", "dim_ordering": "tf"}),
        ("MaxPooling2D", PLAIN, {"pool_size": 2}),
        ("ZeroPadding2D", {"padding": [[1, 1], [2, 2]]}, {"padding": (1, 2)}),
        ("Dropout", {"rate": 0.3, "seed": None, "noise_shape": None}, {"p": 0.3}),
        ("GaussianNoise", {"stddev": 0.3}, {"sigma": 0.3}),
        ("LeakyReLU", {"negative_slope": 0.3}, {"alpha": 0.30000001192092896}),
        ("ReLU", {"max_value": 6.0, "negative_slope": 0.0}, {"max_value": 6, "negative_slope": [0.0]}),
        ("Softmax", {"axis": -1}, {"axis": [3]}),
        ("Activation", {"activation": "relu"}, {"activation": {"class_name": "function", "config": "relu"}}),
        ("Activation", {"activation": "swish"}, {"activation": "silu"}),
        ("Activation", {"activation": "relu6"}, {"activation": {"class_name": "ReLU", "config": {"max_value": 6}}}),
        ("UpSampling2D", {"size": [2, 2], "interpolation": "nearest"}, {"size": 2}),
        ("RandomFlip", {"mode": "vertical"}, {"mode": "vertical", "rng_type": "stateful"}),
        ("RandomRotation", {"factor": [-0.2, 0.2], "fill_mode": "reflect", "fill_value": 0.0}, {"factor": 0.2}),
        ("RandomContrast", {"factor": [0.2, 0.2], "value_range": [0, 255]}, {"factor": 0.2}),
        (
            "TrueDivide",
            {"arguments": {"1": {"class_name": "__tensor__", "config": {"value": [1.0, 2.0, 3.0]}}}},
            {"arguments": {"1": [[[[1.0, 2.0, 3.0]]]]}},
        ),
        (
            "GetItem",
            {"arguments": {"1": [*FLIP, {"class_name": "__slice__", "config": {"step": -1}}]}},
            {"arguments": {"1": ["Ellipsis", {"start": None, "stop": None, "step": -1}]}},
        ),
    ],
)
def test_versions_agree(class_name, config, other_config):
    assert read(class_name, config) == read(class_name, other_config)


def test_both_kerases_write_the_same_flip():
    flip = {"function": "__operators__.getitem", "arguments": {"slice_spec": ["Ellipsis", {"step": -1}]}}
    assert read("SlicingOpLambda", flip) == read("GetItem", {"arguments": {"1": ["Ellipsis", {"step": -1}]}})


def test_keras_1_one_dimensional_pooling():
    settings, shape = read("MaxPooling1D", {"pool_length": 3, "stride": None, "border_mode": "same"}, ((8, 5),))
    assert (settings["pool_size"], settings["strides"], settings["padding"], shape) == ([3], [3], "same", (3, 5))


@pytest.mark.parametrize(
    ("mode", "operation", "shape"),
    [("sum", "add", (8, 6, 3)), ("ave", "average", (8, 6, 3)), ("concat", None, (8, 6, 6))],
)
def test_keras_1_merge(mode, operation, shape):
    config = {"mode": mode, "concat_axis": -1, "layers": [], "dot_axes": -1, "arguments": {}, "mode_type": "raw"}
    settings, actual = read("Merge", config, IMAGE * 2)
    assert settings["operation"] == (operation or "concatenate")
    assert actual == shape


@pytest.mark.parametrize(
    ("config", "slope"),
    [
        ({"dtype": KERAS_3}, 1 / 6),
        ({"dtype": "float32"}, 0.2),
        ({"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}, 0.2),
        ({"dtype": "float32", "keras_version": "3.0.5"}, 1 / 6),
        ({"dtype": KERAS_3, "keras_version": "2.15.0"}, 0.2),
        ({}, 0.2),
    ],
)
def test_hard_sigmoid_is_of_its_keras(config, slope):
    settings, _ = read("Activation", {"activation": "hard_sigmoid", **config})
    assert settings["activation"] == {"name": "hard_sigmoid", "slope": slope}


def test_free_sizes_stay_free():
    free = ((None, None, 3),)
    assert read("MaxPooling2D", {"pool_size": 2}, free)[1] == (None, None, 3)
    assert read("Flatten", {}, free)[1] == (None,)
    assert read("Reshape", {"target_shape": [-1, 3]}, free)[1] == (None, 3)
    assert read("ZeroPadding2D", {"padding": 3}, free)[1] == (None, None, 3)
    assert read("Add", {"trainable": True}, [(None, 6, 3), (8, 6, 1)])[1] == (None, 6, 3)
    assert read("Concatenate", {"axis": 1}, [(None, 3), (4, 3)])[1] == (None, 3)


REFUSED = [
    ("Activation", {"activation": "my_relu"}, "'my_relu' is not one of Keras's own"),
    ("Activation", {"activation": {"class_name": "LeakyReLU", "config": {"shared": 3}}}, "unknown arguments shared=3"),
    ("Softmax", {"axis": [1, 2]}, r"axis=\[1, 2\] is not supported. Expected one number"),
    ("MaxPooling2D", {"padding": "full"}, "padding='full' is not supported"),
    ("MaxPooling2D", {"pool_size": [2, 2, 2]}, "Expected one number or 2"),
    ("MaxPooling2D", {"data_format": "channels_first"}, "in a model whose data format is 'channels_last'"),
    ("MaxPooling1D", {"pool_size": 2}, "takes an input of 2 axes and the batch's"),
    ("ZeroPadding2D", {"padding": [1, 2, 3]}, "Expected one number, 2 numbers or 2 pairs"),
    ("UpSampling2D", {"interpolation": "lanczos3"}, "interpolation='lanczos3' is not supported"),
    ("Reshape", {"target_shape": [5, -1]}, r"cannot reshape \(8, 6, 3\) to \(5, -1\)"),
    ("Dropout", {"noise_shape": [None, 1, 1, 3]}, "noise_shape=.* is not supported"),
    ("Resizing", {"height": 2, "width": 2, "crop_to_aspect_ratio": True}, "crop_to_aspect_ratio=True is not supported"),
    ("Resizing", {"height": 2, "width": 2, "interpolation": "area"}, "interpolation='area' is not supported"),
    ("RandomCrop", {"height": 4, "width": None}, r"height and width of \[4, None\] are not supported"),
    ("RandomFlip", {"mode": "diagonal"}, "mode='diagonal' is not supported"),
    ("RandomRotation", {"factor": "much"}, "factor='much' is not supported. Expected numbers"),
    ("RandomZoom", {"height_factor": 0.2, "fill_mode": "mirror"}, "fill_mode='mirror' is not supported"),
    ("RandomTranslation", {"height_factor": [0.1, float("nan")], "width_factor": 0.1}, "height_factor=nan is not"),
    ("Rescaling", {"scale": "large"}, "'large' is no constant"),
    ("TFOpLambda", {"function": "image.resize"}, "function 'image.resize' is not supported"),
    ("TFOpLambda", {"function": "cast", "arguments": {"dtype": "int32"}}, "a cast to 'int32' is not supported"),
    ("TFOpLambda", {"function": "math.add", "arguments": {"y": 1, "z": 2}}, r"arguments \['y', 'z'\] is not supported"),
    ("Add", {"arguments": {"1": [[[[1.0]]], [[[2.0]]]]}}, "a constant of shape .* is not supported"),
    ("GetItem", {"arguments": {"1": ["Ellipsis", None]}}, "the index None is not supported"),
    ("GetItem", {"arguments": {"1": ["Ellipsis", {"step": -2}]}}, r"Expected a positive step, or \[::-1\]"),
    ("GetItem", {"arguments": {"1": [0]}}, "Expected one of a single axis, not the batch's"),
    ("GetItem", {"arguments": {"1": [{"start": 0}, 1, 2]}}, "Expected one of a single axis"),
    ("Subtract", {"trainable": True}, "takes two inputs. Received: 1"),
    ("Merge", {"mode": "dot"}, "mode='dot' is not supported"),
    ("Permute", {"dims": [2, 1]}, "takes an input of 2 axes and the batch's"),
]


@pytest.mark.parametrize(("class_name", "config", "message"), REFUSED)
def test_refuses(class_name, config, message):
    with pytest.raises(ArchitectureError, match=rf"layer 'a_layer' \(\w+\): .*{message}"):
        read(class_name, config)


@pytest.mark.parametrize(
    ("class_name", "config", "in_shapes", "data_format", "message"),
    [
        ("Add", {"trainable": True}, [(4, 3), (5, 3)], "channels_last", "do not broadcast"),
        ("Add", {}, [(4, 3), (3,)], "channels_last", "an operation on tensors of unequal rank"),
        ("Concatenate", {"axis": 1}, [(4, 3), (4, 2)], "channels_last", "cannot concatenate"),
        ("Concatenate", {"axis": 0}, [(4, 3), (4, 3)], "channels_last", "cannot concatenate"),
        ("Stack", {"axis": 0}, [(4, 3), (4, 3)], "channels_last", "cannot stack"),
        ("GetItem", {"arguments": {"1": ["Ellipsis", 0]}}, [(4, None)], "channels_last", "whose size is free"),
        ("UpSampling1D", {"size": 2}, [(4, 3)], "channels_first", "takes its channels last"),
        ("RandomFlip", {}, [(3, 8, 6)], "channels_first", "takes its images channels_last in a model that has them"),
        ("RandomFlip", {}, [(8, 6)], "channels_last", "takes an input of 3 axes and the batch's"),
        ("Rescaling", {"scale": [1.0, 2.0]}, [(2, 3, 4)], "channels_first", "a scale or offset per channel"),
    ],
)
def test_refuses_inputs(class_name, config, in_shapes, data_format, message):
    with pytest.raises(ArchitectureError, match=message):
        read(class_name, config, in_shapes, data_format)
