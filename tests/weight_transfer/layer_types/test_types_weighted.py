"""The rows of layers with weights, against real Keras 3 and tf_keras."""

from __future__ import annotations

import json

import keras_layers
import numpy as np
import pytest
from keras_layers import LIBRARIES, Case, settings_of, weights_of

from weight_transfer.errors import ArchitectureError
from weight_transfer.layer_types import LAYER_TYPES, ROLE_ALIASES, Options


@pytest.fixture(params=LIBRARIES)
def reports(request, keras_side):
    return keras_layers.reports(keras_side, request.param)


def test_keras_runs_every_case(reports):
    assert [report for report in reports if isinstance(report, str)] == []


def test_shapes_are_keras_own(reports):
    for report in reports:
        settings = settings_of(report.case, report.config)
        row = LAYER_TYPES[report.case.class_name]
        assert row.out_shape(settings, [report.case.in_shape]) == report.out_shape, report.case


def test_weights_are_keras_own_and_go_to_pytorch_and_back(reports):
    for report in reports:
        for weight, array in weights_of(report.case, settings_of(report.case, report.config), report.weights):
            assert weight.shape == array.shape, report.case
            np.testing.assert_array_equal(weight.to_keras(weight.to_torch(array)), array)


def test_shapes_in_channels_first(reports):
    for report in reports:
        if "Conv" in report.case.class_name:
            moved = keras_layers.channels_first(report)
            settings = settings_of(moved.case, moved.config)
            row = LAYER_TYPES[report.case.class_name]
            assert row.out_shape(settings, [moved.case.in_shape]) == moved.out_shape, report.case
            assert row.weights(settings, [moved.case.in_shape]) == row.weights(
                settings_of(report.case, report.config), [report.case.in_shape]
            )


def test_every_keras_gives_the_same_plain_settings(keras_side):
    both = [keras_layers.reports(keras_side, library) for library in LIBRARIES]
    for case, *configs in zip(keras_layers.CASES, *([report.config for report in side] for side in both), strict=True):
        keras3, keras2 = (settings_of(case, config) for config in configs)
        assert keras3 == keras2, case
        assert json.loads(json.dumps(keras3)) == keras3, case


def read(class_name, in_shape, config, data_format="channels_last"):
    return settings_of(Case(class_name, in_shape, {}, data_format), config)


@pytest.mark.parametrize(
    ("class_name", "keras1", "modern", "config"),
    [
        (
            "Convolution2D",
            {"nb_filter": 8, "nb_row": 3, "nb_col": 5, "border_mode": "same", "subsample": [2, 1], "bias": False,
             "dim_ordering": "tf", "activation": "relu", "init": "he_normal", "W_regularizer": None},
            "Conv2D",
            {"filters": 8, "kernel_size": [3, 5], "padding": "same", "strides": [2, 1], "use_bias": False,
             "data_format": "channels_last", "activation": "relu", "dilation_rate": [1, 1], "groups": 1},
        ),
        (
            "Convolution1D",
            {"nb_filter": 8, "filter_length": 3, "border_mode": "valid", "subsample_length": 2, "input_length": 9},
            "Conv1D",
            {"filters": 8, "kernel_size": [3], "padding": "valid", "strides": 2},
        ),
        ("Dense", {"output_dim": 4, "input_dim": 12, "activation": "softmax", "bias": True}, "Dense",
         {"units": 4, "activation": "softmax"}),
        ("BatchNormalization", {"mode": 0, "axis": 2, "epsilon": 1e-5, "momentum": 0.9, "gamma_regularizer": None},
         "BatchNormalization", {"axis": [2], "epsilon": 1e-5, "momentum": 0.9}),
    ],
)  # fmt: skip
def test_keras_1_says_the_same_in_other_words(class_name, keras1, modern, config):
    shape = {"Convolution2D": (9, 7, 4), "Dense": (12,)}.get(class_name, (9, 4))
    assert read(class_name, shape, keras1) == read(modern, shape, config)


def test_a_scale_may_carry_what_every_keras_writes_of_a_layer():
    every = {"name": "scale_conv1", "trainable": True, "dtype": "float32", "batch_input_shape": [None, 9, 7, 4]}
    starts = {"gamma_init": "one", "beta_init": "zero", "input_dtype": "float32", "keras_version": "1.2.2"}
    assert read("Scale", (9, 7, 4), SCALE | every | starts) == read("Scale", (9, 7, 4), SCALE)


def test_data_format_may_be_left_to_the_model():
    config = {"filters": 2, "kernel_size": 3}
    assert read("Conv2D", (4, 9, 7), config | {"dim_ordering": "th"}, "channels_first") == read(
        "Conv2D", (4, 9, 7), config | {"dim_ordering": "default"}, "channels_first"
    )


def test_the_activation_is_read_and_left_to_the_importer():
    assert read("Conv2D", (9, 7, 4), {"filters": 2, "kernel_size": 3, "activation": "relu"})["activation"] == {
        "name": "relu"
    }
    assert read("Dense", (12,), {"units": 2, "activation": "softmax"})["activation"] == {"name": "softmax", "axis": 1}
    assert read("Dense", (12,), {"units": 2, "activation": "linear"})["activation"] is None


def test_free_sizes_stay_free():
    row = LAYER_TYPES["Conv2D"]
    settings = read("Conv2D", (None, 7, 4), {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"})
    assert row.out_shape(settings, [(None, 7, 4)]) == (None, 4, 2)
    row = LAYER_TYPES["Conv2DTranspose"]
    settings = read("Conv2DTranspose", (None, 7, 4), {"filters": 2, "kernel_size": 3, "strides": 2})
    assert row.out_shape(settings, [(None, 7, 4)]) == (None, 15, 2)


def test_statistics_in_a_config_are_those_of_float32():
    settings = read("Normalization", (5, 4, 3), {"axis": [3], "mean": [[[[0.1, 0.2, 0.3]]]], "variance": 0.7})
    assert settings["mean"] == [float(np.float32(value)) for value in (0.1, 0.2, 0.3)]
    assert settings["variance"] == [float(np.float32(0.7))] * 3


def test_aliases_name_roles_of_the_table():
    assert set(ROLE_ALIASES.values()) == {"kernel", "bias", "moving_mean", "moving_variance", "alpha"}


CONV = {"filters": 4, "kernel_size": 3}
SCALE = {"axis": 3, "momentum": 0.9}


REFUSED = [
    ("Conv2D", (9, 4), CONV, r"layer 'block/layer' \(Conv2D\): expected an input of 3 axes besides the batch"),
    ("Conv2D", (9, 7, None), CONV, "the weights need the size of axis -1"),
    ("Conv2D", (9, 7, 4), CONV | {"padding": "causal"}, "padding='causal' is not supported"),
    ("Conv2D", (9, 7, 4), CONV | {"border_mode": "full"}, "padding='full' is not supported"),
    ("Conv2D", (9, 7, 4), CONV | {"kernel_size": [3]}, r"kernel_size=\[3\] is not 2 numbers of 1 or more"),
    ("Conv2D", (9, 7, 4), {"filters": 4}, r"kernel_size=\[None, None\] is not 2 numbers"),
    ("Conv2D", (9, 7, 4), CONV | {"strides": 0}, "strides=0 is not 2 numbers of 1 or more"),
    ("Conv2D", (9, 7, 4), CONV | {"filters": "many"}, "filters='many' is not a number of 1 or more"),
    ("Conv2D", (9, 7, 4), CONV | {"groups": 3}, "3 groups do not divide 4 channels and the filters"),
    ("Conv2D", (9, 7, 4), CONV | {"data_format": "channels_first"}, "in a model whose data format is"),
    ("Conv2D", (2, 7, 4), CONV, r"the window \[3, 3\] is larger than its input \(2, 7, 4\)"),
    ("Conv2D", (9, 7, 4), CONV | {"transform": "fft"}, "unknown arguments transform='fft'"),
    ("Conv2D", (9, 7, 4), CONV | {"activation": "mine"}, "activation 'mine' is not"),
    ("DepthwiseConv2D", (9, 7, 4), {"kernel_size": 3, "groups": 2}, "groups=2 is not supported"),
    ("DepthwiseConv2D", (9, 7, 4), {"kernel_size": 3, "depth_multiplier": 0}, "depth_multiplier=0 is not a number"),
    ("SeparableConv2D", (9, 7, 4), {"kernel_size": 3}, "filters=None is not a number of 1 or more"),
    ("Conv2DTranspose", (9, 7, 4), CONV | {"output_padding": -1}, "output_padding=-1 is not 2 numbers of 0"),
    ("Dense", (7,), {"units": 0}, "units=0 is not a number of 1 or more"),
    ("Dense", (None,), {"units": 3}, "the weights need the size of axis -1"),
    ("BatchNormalization", (9, 7, 4), {"mode": 2}, "mode=2 is not supported"),
    ("BatchNormalization", (9, 7, 4), {"axis": [1, 3]}, r"axis=\[1, 3\] is not supported. Expected one axis"),
    ("BatchNormalization", (9, 7, 4), {"axis": 0}, "the weights need the size of axis 0"),
    ("BatchNormalization", (9, 7, 4), {"axis": 4}, "the weights need the size of axis 4"),
    ("BatchNormalization", (9, 7, 4), {"renorm": True}, "renorm=True is not supported"),
    ("LayerNormalization", (9, 7, 4), {"rms_scaling": True}, "rms_scaling=True is not supported"),
    ("LayerNormalization", (None, 7, 4), {"axis": [1, 2]}, "the weights need the size of axis 1"),
    ("LayerNormalization", (9, 7, 4), {"axis": [-1, 1]}, r"axis=\[-1, 1\] does not ascend"),
    ("GroupNormalization", (9, 7, 4), {}, "groups=32 does not divide 4 channels"),
    ("GroupNormalization", (9, 7, 4), {"groups": 3}, "groups=3 does not divide 4 channels"),
    ("Normalization", (9, 7, 3), {"mean": [1, 2], "variance": [1, 2]}, r"mean=\[1, 2\] does not fit \(3,\)"),
    ("Normalization", (9, 7, 3), {"mean": {"class_name": "x"}}, "mean={'class_name': 'x'} does not fit"),
    ("Scale", (9, 7, 4), {}, r"layer 'block/layer' \(Scale\): this class is not supported; .* Received: none\.$"),
    ("Scale", (9, 7, 4), {"axis": 3}, "only cnn_finetune's Scale is, which has the arguments axis and momentum"),
    ("Scale", (9, 7, 4), SCALE | {"factor": 2.0}, "not supported; .* Received: axis, factor, momentum"),
    ("Scale", (9, 7, 4), SCALE | {"gamma_init": "normal"}, "not supported; .* Received: axis, gamma_init, momentum"),
    ("Scale", (9, 7, 4), SCALE | {"arguments": {"mode": 1}}, "not supported; .* Received: arguments, axis, momentum"),
    ("Scale", (9, 7, 4), SCALE | {"axis": 0}, "the weights need the size of axis 0"),
    ("Scale", (9, 7, 4), SCALE | {"axis": [1, 3]}, r"axis=\[1, 3\] is not supported. Expected one axis"),
    ("PReLU", (None, 7, 4), {"shared_axes": [2]}, "the weights need the size of axis 1"),
]  # fmt: skip


@pytest.mark.parametrize(("class_name", "in_shape", "config", "words"), REFUSED)
def test_refusals(class_name, in_shape, config, words):
    with pytest.raises(ArchitectureError, match=words):
        read(class_name, in_shape, config)


@pytest.mark.parametrize(
    ("class_name", "config"), [("Conv2D", CONV), ("Dense", {"units": 3}), ("BatchNormalization", {})]
)
def test_weights_refuse_an_input_of_free_channels(class_name, config):
    settings = read(class_name, (9, 7, 4), config)
    with pytest.raises(ArchitectureError, match="has a free size where a weight needs a fixed one"):
        LAYER_TYPES[class_name].weights(settings, [(9, 7, None)])


def test_options_of_no_effect_are_not_read():
    Options(
        "layer", "Conv2D", {"kernel_initializer": {"class_name": "HeNormal"}}, [(9, 7, 4)], "channels_last"
    ).finish()
