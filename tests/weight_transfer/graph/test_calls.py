"""What calls are given beside tensors, in each schema."""

from __future__ import annotations

import pytest
from handmade_configs import IN, OUT, keras_2, keras_3_call

from weight_transfer import ArchitectureError
from weight_transfer.graph import Graph, read_graph


def operations(graph: Graph) -> list[tuple[str, dict]]:
    layers = graph.layers
    return [
        (layers[call.layer].config.get("function", layers[call.layer].class_name), dict(call.arguments))
        for call in graph.calls
        if call.arguments
    ]


def test_constants_of_tensorflow_operations_are_arguments(graph_of):
    assert operations(graph_of("tf_keras", "tf")) == [
        ("math.truediv", {"y": 127.5}),
        ("math.subtract", {"y": 1.0}),
    ]
    (_, sliced), (function, bias) = operations(graph_of("tf_keras", "caffe"))
    assert sliced == {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]}
    assert function == "nn.bias_add"
    assert bias["bias"] == pytest.approx([-103.939, -116.779, -123.68])
    found = operations(graph_of("tf_keras", "operations"))
    assert ("math.subtract", {"0": 1.0}) in found
    assert ("math.multiply", {"y": 2.0}) in found
    assert ("concat", {"axis": -1}) in found


def test_constants_of_keras_3_operations_are_arguments_by_position(graph_of):
    assert operations(graph_of("keras", "tf")) == [("TrueDivide", {"1": 127.5}), ("Subtract", {"1": 1.0})]
    found = operations(graph_of("keras", "operations"))
    assert ("Subtract", {"0": 1.0}) in found
    assert ("Multiply", {"1": 2.0}) in found
    slices = [
        {"class_name": "__slice__", "config": {"start": a, "stop": b, "step": None}} for a, b in ((None,) * 2, (1, 3))
    ]
    assert ("GetItem", {"1": slices}) in found


BAD = [
    (keras_2(IN, ("d", "Dense", 3), outputs=OUT), r"layer 'd': inbound_nodes is 3, expected a list"),
    (keras_2(IN, ("d", "Dense", [[["in", 0]]]), outputs=OUT), r"inbound_nodes holds \[\['in', 0\]\], expected"),
    (keras_2(IN, ("d", "Dense", [[["in", 0, 0, 5]]]), outputs=OUT), r"the arguments of layer 'd': 5, expected a dict"),
    (keras_2(IN, ("d", "Dense", [{"args": 3}]), outputs=OUT), r"layer 'd': args is 3, expected a list"),
    (keras_2(IN, ("d", "Dense", [{"args": [], "kwargs": 3}]), outputs=OUT), r"the kwargs of layer 'd': 3, expected"),
    (keras_3_call([["x", 1], {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}]),
     r"layer 'd' is called on tensors and constants in one list or dict, its argument '1'"),
    (keras_2(IN, ("d", "Dense", [[["in", 0, 0], ["_CONSTANT_VALUE", -1, 2.0, {}]]]), outputs=OUT),
     r"layer 'd' is called on tensors and constants in one list or dict, its first argument"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_calls_in_no_schema_are_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        read_graph(config)
