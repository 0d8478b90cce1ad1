"""Tensors as configs point at them, and the inputs and outputs of models."""

from __future__ import annotations

import copy

import keras_graphs
import pytest
from handmade_configs import DENSE, IN, OUT, keras_2, keras_3_call

from weight_transfer import ArchitectureError
from weight_transfer.graph import read_graph


@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_outputs_of_a_dict_are_named_in_the_order_of_the_outputs(family, graph_of):
    graph = graph_of(family, "dicts")
    assert graph.output_names == ("first", "second")
    assert [call.inputs for value in graph.outputs for call in graph.calls if call.value == value] == [("b",), ("a",)]
    assert graph_of(family, "siamese").output_names is None


@pytest.mark.parametrize(("key", "value"), [("output_layers", 3), ("input_layers", {"a": {"b": None}})])
def test_ends_that_are_no_lists_are_refused(key, value):
    config = copy.deepcopy(DENSE)
    config["config"][key] = value
    with pytest.raises(ArchitectureError, match=rf"{key} of the model: .*, expected lists of \[name, node, tensor\]"):
        read_graph(config)


BAD = [
    (keras_2(IN, ("d", "Dense", [[["in", -1, 0]]]), outputs=OUT), r"it refers to \['in', -1, 0\], expected \[name"),
    (keras_2(IN, ("d", "Dense", [[["in", True, 0]]]), outputs=OUT), r"it refers to \['in', True, 0\]"),
    (keras_3_call(depth=120), r"layer 'd': its arguments are nested too deeply"),
    (keras_3_call(3.0, {"class_name": "__keras_tensor__"}), r"a tensor of layer 'd': missing, expected a dict"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_references_in_no_schema_are_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        read_graph(config)
