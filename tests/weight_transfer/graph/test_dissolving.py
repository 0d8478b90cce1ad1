"""Nested models flattened into the calls inside them."""

from __future__ import annotations

import json
import time

import keras_graphs
import pytest
from handmade_configs import DENSE, IN, OUT, TWO_INPUTS, keras_2, nested, reads

from weight_transfer import ArchitectureError
from weight_transfer.checkpoint.layer_names import layers_of
from weight_transfer.graph import read_graph
from weight_transfer.graph.config_reader import MAX_NESTING


@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_second_calls_are_numbered_within_nested_models(family, graph_of):
    values = [call.value for call in graph_of(family, "nested_twice").calls]
    assert [value for value in values if value.startswith("middle/inner/d")] == [
        "middle/inner/d",
        *(f"middle/inner/d#{number}" for number in range(2, 7)),
    ]


@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_training_is_handed_on_into_nested_models(family, real):
    """To the layers that have two modes: here a dropout, where the model that Keras wrote has a ReLU."""
    config = json.loads(real(family, "training").configs["json"])
    for path, layer in layers_of(config):
        if path[-1] == "r":
            layer |= {"class_name": "Dropout", "config": {"name": "r", "rate": 0.5}}
    graph = read_graph(config)
    modes = {call.layer: call.training for call in graph.calls}
    one_mode, said = {"inner/d": None, "frozen/d": None}, {"inner/r": True, "frozen/r": False}
    assert modes == one_mode | (said if family == "tf_keras" else dict.fromkeys(said))  # Keras 3's fit overrides it
    assert not any(call.arguments for call in graph.calls)


def test_a_slash_in_a_name_cannot_hide_a_second_layer():
    config = nested(DENSE)
    config["config"]["layers"].append(
        {"class_name": "Dense", "name": "n/d", "config": {"name": "n/d"}, "inbound_nodes": reads("in")}
    )
    with pytest.raises(ArchitectureError, match="both named 'n/d', nested models included"):
        read_graph(config)
    both = [("d", 1, 0), ("d#2", 0, 0)]
    config = keras_2(IN, ("d", "Dense", [*reads("in"), *reads("d")]), ("d#2", "ReLU", reads("in")), outputs=both)
    with pytest.raises(ArchitectureError, match="both named 'd#2', nested models included"):
        read_graph(config)


def test_models_that_call_models_that_call_models_are_refused_in_time():
    """Thirty rows that would make 2 ** 30 calls."""
    config = DENSE
    for _ in range(MAX_NESTING - 2):
        config = nested(config, [*reads("in"), *reads("n", 1)], node=2)
    started = time.monotonic()
    with pytest.raises(ArchitectureError, match="more than 200000 calls, nested models flattened"):
        read_graph(config)
    assert time.monotonic() - started < 20


BAD = [
    (keras_2(IN, ("d", "Dense", [[]]), outputs=OUT), r"layer 'd' \(Dense\) is called without any input"),
    (nested(TWO_INPUTS), r"model 'n' takes 2 inputs and is called on 1"),
    (nested(DENSE, [[["in", 0, 0, {"flag": 3}]]]), r"model 'n' is called with \['flag'\]"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_calls_that_a_nested_model_cannot_take_are_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        read_graph(config)
