"""Numbers that were changed in PyTorch, in a network's description and in its Keras config."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from handmade_graphs import conv, row

from weight_transfer import ArchitectureError, design
from weight_transfer.changed_settings import with_numbers
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.graph import read_graph
from weight_transfer.resnet.keras_config import keras_config
from weight_transfer.resnet.recipe import resnet_graph

CONFIG = {
    "class_name": "Functional",
    "config": {
        "name": "small",
        "layers": [
            row("InputLayer", "image", [], batch_input_shape=[None, 6, 6, 3]),
            conv("conv", "image"),
            row("GaussianNoise", "noise", ["conv"], sigma=0.5),
            row("Dropout", "dropout", ["noise"], p=0.5),
        ],
        "input_layers": [["image", 0, 0]],
        "output_layers": [["dropout", 0, 0]],
    },
}
HEAD = {"hidden_units": 5, "classes": 3, "dropout": 0.5}


@pytest.fixture
def graph():
    return Description(read_graph(CONFIG).checked(), MADE_HERE, keras_config=CONFIG)


@pytest.fixture
def resnet():
    a = design(18, in_shape=(32, 32, 3))
    network = resnet_graph(dataclasses.replace(a, head=dataclasses.replace(a.head, **HEAD)))
    return Description(network, MADE_HERE)


def configs(description):
    return {layer["config"]["name"]: layer["config"] for layer in description.keras_config["config"]["layers"]}


def test_network_and_config_say_the_same_in_the_words_of_the_config_s_keras(graph):
    before = copy.deepcopy(CONFIG)
    changed = with_numbers(graph, {"noise": {"stddev": 0.75}, "dropout": {"rate": 0.25}})
    assert configs(changed)["noise"] == {"name": "noise", "sigma": 0.75}
    assert configs(changed)["dropout"] == {"name": "dropout", "p": 0.25}
    assert changed.network == read_graph(changed.keras_config).checked()
    assert before == CONFIG


def test_a_layer_that_the_config_does_not_name_is_refused(graph):
    unlike = dataclasses.replace(graph, keras_config={"class_name": "Functional", "config": {"layers": []}})
    with pytest.raises(ArchitectureError, match=r"config does not name:\n  dropout"):
        with_numbers(unlike, {"dropout": {"rate": 0.25}})
    assert with_numbers(dataclasses.replace(graph, keras_config=None), {"dropout": {"rate": 0.25}}).keras_config is None


def test_a_resnet_has_one_number_for_all(resnet):
    changed = with_numbers(resnet, {"dropout_01": {"rate": 0.2}, "dropout_02": {"rate": 0.2}})
    assert changed.network.resnet == dataclasses.replace(
        resnet.network.resnet, head=dataclasses.replace(resnet.network.resnet.head, dropout=0.2)
    )
    with pytest.raises(
        ArchitectureError, match=r"one rate for all its layers \(0.5\), and not all.*\n  dropout_01: 0.2"
    ):
        with_numbers(resnet, {"dropout_01": {"rate": 0.2}})


def test_a_resnet_s_own_config_may_call_its_dropouts_anything(resnet):
    config = keras_config(resnet.network.resnet)
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Dropout":
            layer["config"]["name"] = layer["name"] = f"my_{layer['name']}"
    own = dataclasses.replace(resnet, keras_config=config)
    changed = with_numbers(own, {"dropout_01": {"rate": 0.2}, "dropout_02": {"rate": 0.2}})
    assert {name: one["rate"] for name, one in configs(changed).items() if "rate" in one} == {
        "my_dropout_01": 0.2,
        "my_dropout_02": 0.2,
    }
