"""Real Keras builds from the configuration exactly the layers that the graph lists, in the graph's order."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_loading import own_config, rebuilt
from sweeps import each_once, slow_but

from weight_transfer.architecture import Architecture, Head, standard_filters
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import keras_order
from weight_transfer.resnet.dialects import DIALECTS, design
from weight_transfer.resnet.keras_config import keras_config, legacy_keras_config
from weight_transfer.resnet.recipe import resnet_graph

HEADS = {
    "no head": Head(pooling=None, classes=None),
    "features": Head(pooling="max", classes=None),
    "one dense": Head(classes=7, activation="sigmoid"),
    "tutorial": Head(hidden_units=6, classes=3, dropout=0.5),
    "logits": Head(classes=5, dropout=0.25, activation="linear"),
}


def small(depth: int, dialect: str = "tutorial", **arguments: Any) -> Architecture:
    block = "basic" if depth in (18, 34) else "bottleneck"
    arguments = {"in_shape": (64, 64, 3), "stem_filters": 4, "filters": standard_filters(block, 4, width=2)} | arguments
    return design(depth, dialect=dialect, **arguments)


def rows_of(architecture: Architecture) -> list[dict[str, Any]]:
    return [
        {
            "name": row.path,
            "class_name": row.class_name,
            "out_shape": row.out_shape,
            "weights": {role: weight.shape for role, weight in row.weights.items()},
        }
        for row in keras_order(resnet_graph(architecture))
    ]


def assert_keras_agrees(keras_side, architecture: Architecture) -> None:
    model = keras_side(rebuilt, keras_config(architecture))
    assert model["name"] == resnet_graph(architecture).name
    assert model["single_output"]
    expected = rows_of(architecture)
    assert [layer["name"] for layer in model["layers"]] == [row["name"] for row in expected]
    assert model["layers"] == expected


@pytest.mark.parametrize("depth", slow_but([18, 50], [18, 34, 50, 101, 152]))
def test_depths(keras_side, depth):
    architecture = small(depth)
    assert_keras_agrees(keras_side, architecture)
    assert resnet_graph(architecture).name == f"resnet{depth}"


OTHERS = [key for key in DIALECTS if key != "tutorial"]


@pytest.mark.parametrize(
    ("dialect", "depth"), slow_but(each_once(OTHERS, [18, 50]), itertools.product(OTHERS, [18, 50]))
)
def test_dialects(keras_side, dialect, depth):
    assert_keras_agrees(keras_side, small(depth, dialect))


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads(keras_side, head):
    assert_keras_agrees(keras_side, small(18, "keras-applications", head=head))


@pytest.mark.parametrize("in_shape", [(None, None, 3), (None, 65, 1), (224, 224, 3)])
def test_free_sizes_and_one_channel(keras_side, in_shape):
    assert_keras_agrees(keras_side, small(50, in_shape=in_shape, stride_in="3x3"))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    height=st.integers(32, 99),
    width=st.integers(32, 99),
    channels=st.integers(1, 4),
    block=st.sampled_from(["basic", "bottleneck"]),
    block_counts=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])),
    dialect=st.sampled_from(list(DIALECTS)),
    stride_in=st.sampled_from(["1x1", "3x3"]),
)
def test_any_network(keras_side, height, width, channels, block, block_counts, kernel, dialect, stride_in):
    architecture = design(
        None,
        dialect=dialect,
        in_shape=(height, width, channels),
        block=block,
        block_counts=block_counts,
        filters=standard_filters(block, len(block_counts), width=2),
        stem_filters=3,
        middle_kernel_size=kernel,
        stride_in=stride_in,
    )
    assert_keras_agrees(keras_side, architecture)


@pytest.mark.parametrize(("depth", "dialect"), [(18, "mask-rcnn"), (50, "keras-applications"), (50, "tutorial")])
def test_keras_reads_every_argument_as_meant(keras_side, depth, dialect):
    config = keras_config(small(depth, dialect, epsilon=0.25, momentum=0.5))
    given_back = keras_side(own_config, config)
    for layer in config["config"]["layers"]:
        own = given_back[layer["name"]]
        for key, value in layer["config"].items():
            if key == "dtype":
                assert value == (own[key] if isinstance(own[key], str) else own[key]["config"]["name"])
            elif key.endswith("_initializer"):
                assert value["class_name"] == own[key]["class_name"]
            else:
                assert value == own[key], (layer["name"], key)


def test_what_leaves_no_trace_in_weights_stands_in_the_configuration():
    architecture = small(50, epsilon=0.25, momentum=0.5, kernel_initializer="glorot_uniform")
    layers = {layer["name"]: layer["config"] for layer in keras_config(architecture)["config"]["layers"]}
    assert (layers["bn_conv1"]["epsilon"], layers["bn_conv1"]["momentum"]) == (0.25, 0.5)
    assert layers["conv"]["kernel_initializer"]["class_name"] == "GlorotUniform"
    assert layers["conv"]["bias_initializer"]["class_name"] == "Zeros"
    assert [layers[name]["activation"] for name in ("fc_01", "fc_final")] == ["relu", "softmax"]


def test_both_flavours_are_plain_json_and_fresh_at_each_call():
    architecture = small(50)
    for render in (keras_config, legacy_keras_config):
        config = render(architecture)
        text = json.dumps(config)
        assert json.loads(text) == config
        config["config"]["layers"][2]["config"].clear()
        assert json.dumps(render(architecture)) == text


def test_both_flavours_say_the_same():
    architecture = small(34, "keras-applications")
    new, old = (render(architecture)["config"]["layers"] for render in (keras_config, legacy_keras_config))
    for layer, legacy in zip(new, old, strict=True):
        assert legacy["inbound_nodes"] == (
            [[[*history, {}] for history in histories(layer)]] if histories(layer) else []
        )
        settings_of = dict(layer["config"])
        if "batch_shape" in settings_of:
            settings_of["batch_input_shape"] = settings_of.pop("batch_shape")
        assert legacy["config"] == settings_of


def histories(layer: dict[str, Any]) -> list[list[Any]]:
    """Each [layer, node, tensor] that a layer takes."""
    tensors = [tensor for node in layer["inbound_nodes"] for tensor in node["args"]]
    flat = tensors[0] if tensors and isinstance(tensors[0], list) else tensors
    return [tensor["config"]["keras_history"] for tensor in flat]


def test_too_small_an_input():
    with pytest.raises(ArchitectureError, match="the input is too small"):
        keras_config(small(18, "keras-2.1", in_shape=(2, 2, 3)))
