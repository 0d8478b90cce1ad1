"""Sequentials: their inputs, and how Keras 1 wrote them."""

from __future__ import annotations

import pytest
from handmade_configs import IN, keras_2, reads, row, sequential

from weight_transfer import ArchitectureError
from weight_transfer.graph import read_graph


def test_a_sequential_of_keras_1_is_a_list_and_states_its_shape():
    inner = {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "dense_2"}}]}
    first = {"class_name": "Dense", "config": {"name": "dense_1", "batch_input_shape": [None, 4]}}
    graph = read_graph({"class_name": "Sequential", "config": [first, inner]})
    assert list(graph.listed) == ["dense_1_input", "dense_1", "sequential_2/dense_2"]
    assert graph.listed["dense_1_input"].class_name == "InputLayer"
    assert graph.listed["dense_1_input"].config["batch_input_shape"] == [None, 4]
    assert graph.listed["sequential_2/dense_2"].name == "dense_2"
    assert [call.inputs for call in graph.calls] == [("dense_1_input",), ("dense_1",)]


def test_a_sequential_takes_its_shape_from_a_model_inside_or_from_its_build():
    inner = keras_2(IN, ("d", "Dense", reads("in")), outputs=[("d", 0, 0)])
    inner["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 7]
    graph = read_graph({"class_name": "Sequential", "config": {"name": "s", "layers": [inner]}})
    assert graph.listed["m_input"].config["batch_input_shape"] == [None, 7]
    dense = {"class_name": "Dense", "config": {"name": "d"}}
    graph = read_graph({"class_name": "Sequential", "config": {"layers": [dense], "build_input_shape": [None, 3]}})
    assert graph.listed["d_input"].config["batch_input_shape"] == [None, 3]
    assert graph.name == "sequential"


BAD = [
    (sequential(row("a", batch_input_shape=[None, 4]), row("a_input")), r"both named 'a_input'"),
    (sequential(row("a")), r"the model has no inputs: it is a Sequential whose layers state no input shape"),
    (sequential(), r"the model has no layers"),
    (sequential(row("a", batch_input_shape=[4]), row("b", "InputLayer")), r"'b' \(InputLayer\) stands inside"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_what_is_no_chain_is_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        read_graph(config)
