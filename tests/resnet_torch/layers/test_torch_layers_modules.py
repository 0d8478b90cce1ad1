"""Layers without weights as modules: training, tracing, compiling, exporting, printing."""

from __future__ import annotations

import dataclasses

import layer_variants
import pytest
import torch
from torch import fx, nn

from resnet_torch.imported import import_graph
from resnet_torch.layers import LAYER_MODULES
from resnet_torch.layers.activations import activation_module
from weight_transfer.layer_types import LAYER_TYPES, Options
from weight_transfer.layer_types.activations import ACTIVATIONS

CHANNELS = [1.0, 2.0, 4.0]
IMAGE = ((8, 6, 3),)
# One layer of every module class of this package.
LAYERS = [
    *(("Activation", {"activation": name}, IMAGE) for name in ("gelu", "sparsemax", "hard_sigmoid", "linear")),
    ("ReLU", {"max_value": 3.0, "threshold": 0.5}, IMAGE),
    ("Multiply", {"trainable": True}, [(8, 6, 3), (3,)]),
    ("Average", {"trainable": True}, IMAGE * 3),
    ("Concatenate", {}, IMAGE * 2),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("GlobalAveragePooling2D", {}, IMAGE),
    ("GlobalMaxPooling2D", {"keepdims": True}, IMAGE),
    ("ZeroPadding2D", {"padding": [[1, 0], [2, 3]]}, IMAGE),
    ("Cropping2D", {"cropping": [[1, 0], [2, 3]]}, IMAGE),
    ("UpSampling2D", {"size": 2}, IMAGE),
    ("Flatten", {}, IMAGE),
    ("Reshape", {"target_shape": [6, -1]}, IMAGE),
    ("Permute", {"dims": [3, 1, 2]}, IMAGE),
    ("RepeatVector", {"n": 3}, [(5,)]),
    ("Rescaling", {"scale": CHANNELS}, IMAGE),
    ("Resizing", {"height": 5, "width": 9}, IMAGE),
    ("RandomFlip", {}, IMAGE),
    ("TrueDivide", {"arguments": {"1": CHANNELS}}, IMAGE),
    ("Maximum", {"arguments": {"0": 0.5}}, IMAGE),
    ("Negative", {}, IMAGE),
    ("GetItem", {"arguments": {"1": ["Ellipsis", {"step": -1}]}}, IMAGE),
    ("GetItem", {"arguments": {"1": ["Ellipsis", {"start": 1}]}}, IMAGE),
    ("GetItem", {"arguments": {"1": ["Ellipsis", 0]}}, IMAGE),
    ("Stack", {"axis": -1}, [(8, 6)] * 3),
]


def built(class_name, config, in_shapes):
    options = Options("layer", class_name, config, in_shapes, "channels_last")
    return LAYER_MODULES[class_name].build(LAYER_TYPES[class_name].settings(options), {}, in_shapes)


def tensors(in_shapes):
    torch.manual_seed(0)
    return tuple(torch.randn(2, shape[-1], *shape[:-1]) for shape in in_shapes)


class Around(nn.Module):
    """Holds a layer, so that a tracer goes into it."""

    def __init__(self, layer, inputs):
        super().__init__()
        self.layer = layer
        self.inputs = inputs

    def forward(self, x, y=None, z=None):
        return self.layer(*(x, y, z)[: self.inputs])


@pytest.mark.parametrize(("class_name", "config", "in_shapes"), LAYERS)
def test_traces_exports_and_prints(class_name, config, in_shapes):
    layer, inputs = built(class_name, config, in_shapes).eval(), tensors(in_shapes)
    around = Around(layer, len(inputs))
    expected = layer(*inputs)
    padded = inputs + (None,) * (3 - len(inputs))
    assert torch.equal(fx.symbolic_trace(around)(*padded), expected)
    assert torch.equal(torch.export.export(around, inputs).module()(*inputs), expected)
    assert "object at" not in repr(layer)


def test_compiles_without_graph_breaks():
    for class_name, config, in_shapes in LAYERS:
        layer, inputs = built(class_name, config, in_shapes).eval(), tensors(in_shapes)
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*inputs), layer(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("class_name", "config", "in_shapes"), LAYERS)
def test_keeps_the_precision(class_name, config, in_shapes, dtype):
    layer = built(class_name, config, in_shapes).eval()
    assert layer(*(x.to(dtype) for x in tensors(in_shapes))).dtype == dtype


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "linear"])
def test_activations_have_gradients(name):
    settings = {**ACTIVATIONS[name], "name": name}
    x = torch.linspace(-3.3, 3.3, 40, dtype=torch.float64).reshape(4, 10).requires_grad_()
    assert torch.autograd.gradcheck(activation_module(settings | ({"axis": 1} if "axis" in settings else {})), x)


@pytest.mark.parametrize(
    ("class_name", "config", "variance"),
    [
        ("Dropout", {"rate": 0.2}, 0.25),
        ("GaussianDropout", {"rate": 0.2}, 0.25),
        ("GaussianNoise", {"stddev": 0.5}, 0.25),
        ("SpatialDropout2D", {"rate": 0.2}, 0.25),
    ],
)
def test_noise_is_drawn_in_training_only(class_name, config, variance):
    torch.manual_seed(0)
    layer, ones = built(class_name, config, [(4, 4, 100)]), torch.ones(200, 100, 4, 4)
    drawn = layer.train()(ones)
    assert drawn.mean() == pytest.approx(1, abs=0.02)  # 20 000 independent channels at least: 5 deviations
    assert drawn.var() == pytest.approx(variance, abs=0.02)
    assert torch.equal(layer.eval()(ones), ones)
    if class_name == "SpatialDropout2D":
        assert torch.equal(drawn.amax((2, 3)), drawn.amin((2, 3)))


def test_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(0)
    layer, x = built("AlphaDropout", {"rate": 0.2}, [(100,)]).train(), torch.randn(2000, 100)
    assert layer(x).mean() == pytest.approx(0, abs=0.02)
    assert layer(x).var() == pytest.approx(1, abs=0.03)


def test_augmentation_acts_in_training_alone():
    (x,) = tensors(IMAGE)
    layer = built("RandomRotation", {"factor": 0.3}, IMAGE)
    assert torch.equal(layer.eval()(x), x)
    assert not torch.equal(layer.train()(x), x)


# What acts in training alone


def other(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [0.5 * number + 0.01 for number in value]
    if value is None:
        return [-0.1, 0.2]
    return "wrap" if isinstance(value, str) else 0.5 * value + 0.01


ACT_IN_TRAINING = [
    pytest.param(variant, setting, id=f"{name}-{number}-{setting}")
    for name, known in layer_variants.variants().items()
    for number, variant in enumerate(known)
    for setting in LAYER_TYPES[name].in_training
    if setting in variant.graph().layers["layer"].settings and setting != "interpolation"
]


@pytest.mark.parametrize(("variant", "setting"), ACT_IN_TRAINING)
def test_what_the_table_says_acts_in_training_alone_changes_no_inference(variant, setting):
    graph = variant.graph()
    layer = graph.layers["layer"]
    changed = {**layer.settings, setting: other(layer.settings[setting])}
    altered = dataclasses.replace(graph, layers={"layer": dataclasses.replace(layer, settings=changed)})
    inputs = (
        tensors(graph.inputs.values()) if graph.channels_last else [torch.randn(2, *s) for s in graph.inputs.values()]
    )
    one, two = (import_graph(network).eval() for network in (graph, altered))
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(*inputs), two(*inputs), rtol=0, atol=0)


def test_every_layer_with_two_modes_has_something_that_acts_in_training_alone():
    for name, known in layer_variants.variants().items():
        settings = {key for variant in known for key in variant.graph().layers["layer"].settings}
        without = name in ("ActivityRegularization", "RandomCrop")  # a penalty; where the crop lies is drawn
        assert LAYER_TYPES[name].two_modes == (bool(settings & set(LAYER_TYPES[name].in_training)) or without), name
