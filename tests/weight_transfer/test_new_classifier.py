"""A network with a classifier of other classes: only that changes, and what is not clear is refused."""

from __future__ import annotations

import dataclasses

import pytest
from handmade_graphs import conv, dense, network, row

from weight_transfer import design
from weight_transfer.architecture import Head
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph
from weight_transfer.new_classifier import classifier_of, config_of_new_classifier, with_num_classes
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph

FLAT = row("Flatten", "flat", ["image"])
L2 = {"class_name": "L2", "config": {"l2": 0.1}}
MAX_NORM = {"class_name": "MaxNorm", "config": {"max_value": 2.0, "axis": 0}}


def graph(*rows: dict, outputs="out") -> Graph:
    return network(*rows, outputs=[[outputs, 0, 0]])


def test_a_dense_and_what_acts_on_it():
    held = {"kernel_regularizer": L2, "bias_constraint": MAX_NORM}
    before = graph(FLAT, dense("hidden", "flat", 4, **held), dense("out", "hidden", 5, activation="softmax", **held))
    after = with_num_classes(before, 3)
    assert classifier_of(before) == classifier_of(after) == "out"
    assert after.layers["out"].settings == {**before.layers["out"].settings, "units": 3}
    assert after.layers["out"].out_shape == after.shapes["out"] == (3,)
    assert (after.layers["out"].regularizers, after.layers["out"].constraints) == ({}, {})
    assert after.layers["hidden"] == before.layers["hidden"]
    assert after.final_activations == before.final_activations == ["softmax"]
    assert with_num_classes(before, 5).layers["out"].settings == before.layers["out"].settings
    assert Graph.from_dict(after.to_dict()) == after


def test_a_convolution_with_reshaping_behind_it():
    rows = [
        row("GlobalAveragePooling2D", "pool", ["image"], keepdims=True),
        conv("preds", "pool", kernel_size=[1, 1], filters=5),
        row("Dropout", "drop", ["preds"], rate=0.5),
        row("Reshape", "shaped", ["drop"], target_shape=[5]),
        row("Softmax", "out", ["shaped"]),
    ]
    after = with_num_classes(graph(*rows), 7)
    assert classifier_of(after) == "preds"
    assert {name: layer.out_shape for name, layer in after.layers.items()} == {
        "pool": (1, 1, 3),
        "preds": (1, 1, 7),
        "drop": (1, 1, 7),
        "shaped": (7,),
        "out": (7,),
    }
    assert after.shapes["out"] == (7,)
    assert after.layers["out"].in_shapes == ((7,),)


def test_a_pooling_behind_the_classifier():
    """As in SqueezeNet."""
    rows = [conv("preds", "image", kernel_size=[1, 1], activation="relu"), row("GlobalMaxPooling2D", "pool", ["preds"])]
    after = with_num_classes(graph(*rows, row("Activation", "out", ["pool"], activation="softmax")), 4)
    assert after.shapes["out"] == (4,)
    assert after.layers["preds"].settings["activation"] == {"name": "relu"}


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([FLAT, dense("a", "flat", 4), row("BatchNormalization", "out", ["a"])], r"it ends in 'out' \(BatchNorm"),
        ([conv("out", "image")], r"it ends in 'out' \(Conv2D\)"),
        ([FLAT, dense("a", "flat", 4), row("Add", "out", ["a", "a"])], r"it ends in 'out' \(Add\)"),
        ([conv("a", "image", kernel_size=[1, 1]), row("Flatten", "out", ["a"])], r"\('a'\) classes and places become"),
        ([row("Flatten", "out", ["image"])], "it has none"),
    ],
)
def test_what_is_not_clear_is_refused(rows, why):
    with pytest.raises(
        ArchitectureError,
        match=rf"^small: the classifier cannot be replaced: .*{why}.* Build the network that you want",
    ):
        with_num_classes(graph(*rows), 3)


def test_several_outputs_are_refused():
    both = network(FLAT, dense("a", "flat", 2), dense("b", "flat", 2), outputs=[["a", 0, 0], ["b", 0, 0]])
    with pytest.raises(ArchitectureError, match=r"it has 2 outputs \(a, b\)\. Build the network"):
        with_num_classes(both, 3)


def test_the_activation_stays_or_is_exchanged():
    fused = graph(FLAT, dense("out", "flat", 1, activation="sigmoid"))
    assert with_num_classes(fused, 3).final_activations == ["sigmoid"]
    softmax = with_num_classes(fused, 3, "softmax")
    assert softmax.final_activations == ["softmax"]
    assert softmax.layers["out"].settings["activation"] == {"name": "softmax", "axis": 1}
    assert with_num_classes(softmax, 2, "linear").last_activations == ["linear"]
    apart = graph(FLAT, dense("a", "flat", 4), row("Activation", "out", ["a"], activation="softmax"))
    assert with_num_classes(apart, 2, "sigmoid").last_activations == ["sigmoid"]
    layer = graph(FLAT, dense("a", "flat", 4), row("Softmax", "out", ["a"]))
    with pytest.raises(ArchitectureError, match=r"the activation of 'out' \(Softmax\) cannot be exchanged"):
        with_num_classes(layer, 2, "sigmoid")


def test_a_resnet():
    resnet = design(18, in_shape=(32, 32, 3))
    before, headless = resnet_graph(resnet), dataclasses.replace(resnet, head=Head(pooling=None, classes=None))
    after = with_num_classes(before, 3)
    assert after.resnet == dataclasses.replace(resnet, head=dataclasses.replace(resnet.head, classes=3))
    assert classifier_of(after) == "fc_final"
    bare = resnet_graph(headless)
    assert with_num_classes(bare, 3).resnet.head == Head(pooling="avg", classes=3, activation="softmax")
    assert with_num_classes(bare, 1).resnet.head.activation == "sigmoid"
    assert with_num_classes(before, 3, "sigmoid").resnet.head.activation == "sigmoid"
    headed = with_own_head(headless, graph(FLAT, dense("out", "flat", 4)))
    assert with_num_classes(headed, 9).own_head.shapes["out"] == (9,)
    assert classifier_of(headed) == "out"


@pytest.mark.parametrize(
    "network", [resnet_graph(design(18)), graph(FLAT, dense("out", "flat", 4, activation="softmax"))]
)
def test_values_that_no_classifier_has(network):
    for wrong in (0, True, 2.5, "3"):
        with pytest.raises(ArchitectureError, match=r"num_classes must be a whole number from 1\. Received: "):
            with_num_classes(network, wrong)
    with pytest.raises(ArchitectureError, match=r"must be softmax, sigmoid or linear\. Received: 'relu'"):
        with_num_classes(network, 3, "relu")
    with pytest.raises(ArchitectureError, match=r"the softmax of one class is always 1\. Take activation='sigmoid'"):
        with_num_classes(network, 1)
    assert with_num_classes(network, 1, "sigmoid") != network


def config_of(*layers: dict) -> dict:
    return {"class_name": "Functional", "config": {"name": "m", "layers": list(layers)}}


def test_the_keras_config_follows():
    regularized = dense("out", "hidden", 5, activation="softmax", kernel_regularizer=L2, kernel_constraint=MAX_NORM)
    rows = [FLAT, dense("hidden", "flat", 4, kernel_regularizer=L2), regularized]
    before, config = graph(*rows), config_of(*rows)
    after = config_of_new_classifier(config, before, with_num_classes(before, 3, "sigmoid"), ["out"])
    flat, hidden, out = after["config"]["layers"]
    assert (flat, hidden) == (FLAT, rows[1])
    wanted = {
        "units": 3,
        "activation": "sigmoid",
        "kernel_regularizer": None,
        "kernel_constraint": None,
        "trainable": True,
    }
    assert out == {**regularized, "config": {**regularized["config"], **wanted}}
    assert config == config_of(*rows), "the config that was given has changed"


def test_the_keras_config_of_a_nested_classifier_and_of_keras_1():
    rows = [conv("preds", "image", kernel_size=[1, 1], filters=5), row("GlobalMaxPooling2D", "pool", ["preds"])]
    before = graph(*rows, row("Reshape", "out", ["pool"], target_shape=[5]))
    nested = {name.replace("preds", "inner/preds"): one for name, one in before.layers.items()}
    nested["inner/preds"] = dataclasses.replace(before.layers["preds"], path="inner/preds")
    calls = tuple(
        dataclasses.replace(call, layer="inner/preds") if call.layer == "preds" else call for call in before.calls
    )
    before = dataclasses.replace(before, layers=nested, calls=calls)
    old = row("Conv2D", "preds", [], nb_filter=5)
    shaped = row("Reshape", "out", ["pool"], target_shape=[5])
    inner = {"class_name": "Model", "config": {"name": "inner", "layers": [old]}}
    changed = with_num_classes(before, 7)
    after = config_of_new_classifier(config_of(inner, rows[1], shaped), before, changed, ["inner/preds"])
    found, pool, reshape = after["config"]["layers"]
    assert found["config"]["layers"][0]["config"] == {"name": "preds", "nb_filter": 7, "trainable": True}
    assert pool == rows[1]
    assert reshape["config"]["target_shape"] == [7]


def test_the_keras_config_of_a_resnet():
    before = resnet_graph(design(18, in_shape=(32, 32, 3)))
    config = config_of(dense("fc_final", "x", 10, activation="softmax"))
    for activation in ("softmax", "sigmoid"):
        after = with_num_classes(before, 3, activation)
        wanted = dense("fc_final", "x", 3, activation=activation, trainable=True)
        assert config_of_new_classifier(config, before, after, ["fc_final"]) == config_of(wanted)
