"""The modules of layers with weights, against real Keras 3 and tf_keras in float64."""

from __future__ import annotations

import keras_layers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from keras_layers import LIBRARIES, Case, settings_of, weights_of
from torch import nn

from resnet_torch.layers import LAYER_MODULES
from resnet_torch.layers.convolutions import SameConv1d
from resnet_torch.layers.prelu import ChannelPReLU
from resnet_torch.padding import same_pad
from weight_transfer.layer_types import LAYER_TYPES

TOLERANCE = 1e-12  # of the peak
CLASSES = list(dict.fromkeys(case.class_name for case in keras_layers.CASES))


def module_of(case, config, arrays):
    settings = settings_of(case, config)
    state = {
        weight.torch: torch.from_numpy(weight.to_torch(array)) for weight, array in weights_of(case, settings, arrays)
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    module = LAYER_MODULES[case.class_name].build(settings, shapes, [case.in_shape]).double().eval()
    module.load_state_dict(state)
    return module


def run(module, case, x):
    """Runs a module on an array in Keras's layout, and returns one."""
    if case.data_format == "channels_first":
        return module(torch.from_numpy(x)).detach().numpy()
    return np.moveaxis(module(torch.from_numpy(np.moveaxis(x, -1, 1))).detach().numpy(), 1, -1)


def assert_near(actual, expected, case, tolerance=TOLERANCE):
    assert actual.shape == expected.shape, case
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max(), case


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("class_name", CLASSES)
def test_the_module_computes_what_keras_does(keras_side, library, class_name):
    for report in keras_layers.reports(keras_side, library):
        if report.case.class_name == class_name:
            module = module_of(report.case, report.config, report.weights)
            assert_near(run(module, report.case, report.x), report.y, report.case)


@pytest.mark.parametrize("class_name", [name for name in CLASSES if "Conv" in name])
def test_channels_first_convolutions(keras_side, class_name):
    for report in keras_layers.reports(keras_side, "keras")[::2]:
        if report.case.class_name == class_name:
            moved = keras_layers.channels_first(report)
            module = module_of(moved.case, moved.config, moved.weights)
            assert_near(run(module, moved.case, moved.x), moved.y, moved.case)


TF_KERAS_ALONE = [
    *(
        Case(f"Conv{rank}DTranspose", (*keras_layers.SIZES[rank], 4), {"filters": 6, "padding": padding, **options})
        for rank in (2, 3)
        for padding in ("same", "valid")
        for options in ({"kernel_size": 3, "dilation_rate": 2}, {"kernel_size": 2, "dilation_rate": 3})
    ),
    *(
        Case("SeparableConv1D", (11, 4), {"filters": 3, "kernel_size": 3, "padding": "causal", **options})
        for options in ({}, {"strides": 2}, {"dilation_rate": 2})
    ),
]


def test_what_tf_keras_alone_runs(keras_side):
    for case, report in zip(
        TF_KERAS_ALONE, keras_side(keras_layers.run_cases, "tf_keras", TF_KERAS_ALONE), strict=True
    ):
        module = module_of(case, report.config, report.weights)
        assert_near(run(module, case, report.x), report.y, case)


def test_keras_3_rounds_given_statistics_to_float32(keras_side):
    case = Case("Normalization", (5, 4, 3), {"mean": [123.68, 116.779, 103.939], "variance": [0.1, 0.2, 0.3]})
    (report,) = keras_side(keras_layers.run_cases, "keras", [case])
    assert_near(run(module_of(case, report.config, {}), case, report.x), report.y, case)


@pytest.mark.parametrize(
    ("class_name", "in_shape", "config", "expected"),
    [
        ("Conv2D", (9, 7, 4), {"padding": "valid", "strides": 2}, nn.Conv2d),
        ("Conv2D", (9, 7, 4), {"padding": "same"}, nn.Conv2d),
        ("Conv3D", (9, 7, 5, 4), {"padding": "same", "kernel_size": 1, "strides": 2}, nn.Conv3d),
        ("Conv1DTranspose", (9, 4), {"padding": "same", "kernel_size": 4, "strides": 2}, nn.ConvTranspose1d),
        ("DepthwiseConv1D", (9, 4), {"padding": "same"}, nn.Conv1d),
        ("SeparableConv2D", (9, 7, 4), {}, nn.Sequential),
        ("Dense", (9,), {"units": 3}, nn.Linear),
        ("PReLU", (9, 7, 4), {"shared_axes": [1, 2]}, ChannelPReLU),
        ("PReLU", (9,), {}, ChannelPReLU),
    ],
)  # fmt: skip
def test_ordinary_modules_where_they_do(class_name, in_shape, config, expected):
    conv = {"filters": 4, "kernel_size": 3} if "Conv" in class_name else {}
    if class_name.startswith("Depthwise"):
        conv = {"kernel_size": 3}
    assert type(built(class_name, in_shape, conv | config)) is expected


def built(class_name, in_shape, config):
    settings = settings_of(Case(class_name, in_shape), config)
    rows = LAYER_TYPES[class_name].weights(settings, [in_shape]).values()
    shapes = {row.torch: row.to_torch(np.empty(row.shape)).shape if row.shape else () for row in rows}
    module = LAYER_MODULES[class_name].build(settings, shapes, [in_shape])
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}.items() >= shapes.items()
    return module


@pytest.mark.parametrize(
    ("scale", "center", "names"),
    [(True, True, {"weight", "bias"}), (False, True, {"bias"}), (True, False, {"weight"}), (False, False, set())],
)
@pytest.mark.parametrize("class_name", ["BatchNormalization", "LayerNormalization", "GroupNormalization"])
def test_what_is_missing_in_keras_is_missing_here(class_name, scale, center, names):
    config = {"scale": scale, "center": center} | ({"groups": 2} if class_name[0] == "G" else {})
    moving = {"running_mean", "running_var", "num_batches_tracked"} if class_name[0] == "B" else set()
    assert set(built(class_name, (5, 4, 6), config).state_dict()) == names | moving


def test_given_statistics_are_no_weights():
    assert not built("Normalization", (5, 4, 3), {"mean": 0.5, "variance": 2.0}).state_dict()
    assert set(built("Normalization", (5, 4, 3), {}).state_dict()) == {"mean", "variance", "count"}


@given(
    size=st.integers(1, 40), kernel_size=st.integers(1, 7), strides=st.integers(1, 4), dilation_rate=st.integers(1, 3)
)
def test_same_convolutions_give_the_rounded_up_size(size, kernel_size, strides, dilation_rate):
    module = SameConv1d(1, 1, kernel_size, strides, dilation=dilation_rate)
    assert module(torch.zeros(1, 1, size)).shape[-1] == -(-size // strides)


def test_a_kernel_smaller_than_its_stride_starts_at_the_first_place():
    # In float64, TensorFlow's own Conv3D starts at the second here; in float32 it does not.
    module = built("Conv3D", (6, 6, 6, 1), {"filters": 1, "kernel_size": 1, "strides": 3, "padding": "same"})
    nn.init.ones_(module.weight)
    nn.init.zeros_(module.bias)
    x = torch.arange(216.0).reshape(1, 1, 6, 6, 6)
    assert torch.equal(module(x), x[..., ::3, ::3, ::3])


def test_traced_padding_is_one_node():
    traced = torch.fx.symbolic_trace(SameConv1d(1, 1, 3, 2))
    assert next(node.target for node in traced.graph.nodes if node.op == "call_function") is same_pad
    assert traced(torch.zeros(1, 1, 8)).shape == (1, 1, 4)
    assert traced(torch.zeros(1, 1, 9)).shape == (1, 1, 5)


def test_layers_show_what_they_are():
    transposed = {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}
    for module, text in (
        (
            built("Conv1DTranspose", (9, 4), transposed),
            "TrimmedConvTranspose1d(4, 4, kernel_size=(3,), stride=(2,), trim=(1,))",
        ),
        (built("LayerNormalization", (9, 4), {}), "LayerNorm((4,), axes=(1,), eps=0.001)"),
        (built("GroupNormalization", (9, 4), {"groups": 2}), "GroupNorm(2, axis=1, eps=0.001)"),
        (built("Normalization", (9, 4), {}), "DataNorm((4, 1))"),
        (built("PReLU", (9, 4), {}), "PlacewisePReLU((4, 9))"),
        (built("Scale", (9, 7, 4), {"axis": 3, "momentum": 0.9}), "Scale(4, axis=1)"),
    ):
        assert repr(module) == text
    assert repr(built("BatchNormalization", (9, 4), {"axis": 1})).endswith("frozen=False, axis=2)")


STEPS = [
    *(Case("BatchNormalization", shape, {"momentum": 0.9}) for shape in ((6,), (5, 6), (3, 4, 6), (2, 3, 4, 6))),
    Case("BatchNormalization", (3, 4, 6), {"axis": 2, "scale": False}),
    Case("BatchNormalization", (3, 4, 6), {"axis": 1, "center": False}),
    Case("BatchNormalization", (6, 3, 4), {"axis": 1, "scale": False, "center": False}, "channels_first"),
]  # fmt: skip


def step_here(case, answer, batches, moving_variance, dtype):
    module = module_of(case, answer["config"], answer["before"]).to(dtype).train()
    module.moving_variance = moving_variance
    outputs = [run(module, case, batch) for batch in batches]
    state = module.state_dict()
    after = {
        weight.torch: array for weight, array in weights_of(case, settings_of(case, answer["config"]), answer["after"])
    }
    return outputs, [(state[name].numpy(), array) for name, array in after.items()]


@pytest.mark.parametrize("case", STEPS, ids=str)
def test_batch_norm_learns_as_keras_3(keras_side, case):
    batches = list(np.random.default_rng(1).normal(2.0, 3.0, size=(3, 5, *case.in_shape)))
    answer = keras_side(keras_layers.training_steps, "keras", case, "float64", batches)
    outputs, states = step_here(case, answer, batches, "keras3", torch.float64)
    for actual, expected in [*zip(outputs, answer["outputs"], strict=True), *states]:
        assert_near(actual, expected, case)


@pytest.mark.parametrize("case", STEPS, ids=str)
def test_batch_norm_learns_as_tf_keras(keras_side, case):
    # In float32, for which tf_keras has fused kernels; which tensors it fuses shows in the moving variance.
    batches = list(np.random.default_rng(1).normal(2.0, 3.0, size=(3, 5, *case.in_shape)).astype(np.float32))
    answer = keras_side(keras_layers.training_steps, "tf_keras", case, "float32", batches)
    outputs, states = step_here(case, answer, batches, "tf_keras", torch.float32)
    for actual, expected in [*zip(outputs, answer["outputs"], strict=True), *states]:
        assert_near(actual, expected, case, tolerance=1e-5)
