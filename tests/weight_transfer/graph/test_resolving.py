"""Which call a reference means, and in which order the calls are made."""

from __future__ import annotations

import json

import keras_graphs
import pytest
from handmade_configs import DENSE, IN, ONE, OUT, keras_2, nested, reads
from sweeps import slow_but

from weight_transfer import ArchitectureError, identify, read_checkpoint
from weight_transfer.graph import read_graph


def test_calls_follow_what_they_read_whatever_the_order_of_the_file():
    rows = [(f"d{i}", "Dense", reads(f"d{i + 1}" if i < 2000 else "in")) for i in range(2001)]
    graph = read_graph(keras_2(*rows, IN, outputs=[("d0", 0, 0)]))
    assert [call.value for call in graph.calls] == [f"d{i}" for i in reversed(range(2001))]


@pytest.mark.parametrize("seeds", slow_but([range(1)], [range(1), range(1, 12)]))
def test_calls_are_in_the_order_in_which_keras_makes_them(seeds, keras_side):
    """In it, a batch norm that is called twice moves its statistics."""
    again = 0
    for config, calls in keras_side(keras_graphs.orders_of_calls, seeds):
        graph = read_graph(json.loads(config))
        assert [call.layer for call in graph.calls] == calls
        again += len(calls) > len(set(calls))
    assert again > len(seeds)


def test_calls_that_no_output_needs_are_not_made():
    graph = read_graph(keras_2(IN, ONE, ("e", "ReLU", reads("in")), outputs=OUT))
    assert [call.value for call in graph.calls] == ["d"]


def test_a_loss_that_the_model_adds_is_refused_by_name(keras_side, tmp_path):
    """No output reads it, but training has it: 0.76 of the peak of a gradient."""
    for path in keras_side(keras_graphs.saved_with_added_losses, tmp_path):
        with (
            read_checkpoint(path) as checkpoint,
            pytest.raises(ArchitectureError, match=r"\(AddLoss\): the model adds a loss of its own in training"),
        ):
            identify(checkpoint)


def test_a_nested_model_called_once_may_be_counted_from_0_or_1():
    inner = keras_2(IN, ("d", "Dense", reads("in")), outputs=[("d", 0, 0)])["config"]
    for node in (0, 1):
        config = keras_2(IN, ("n", "Model", reads("in")), outputs=[("n", node, 0)])
        config["config"]["layers"][1]["config"] = inner
        assert read_graph(config).outputs == ("n/d",)


BAD = [
    (keras_2(IN, ("dense", "Dense", reads("conv")), outputs=OUT), r"'dense' reads layer 'conv', which the model lacks"),
    (keras_2(IN, ("d", "Dense", reads("inn")), outputs=OUT), r"\(nearest: in\)"),
    (keras_2(IN, ONE, outputs=[("e", 0, 0)]), r"an output of the model reads layer 'e'"),
    (keras_2(IN, ("d", "Dense", reads("d")), outputs=OUT), r"layer 'd' reads its own output: the graph has a cycle"),
    (keras_2(IN, ("d", "Dense", reads("e")), ("e", "ReLU", reads("d")), outputs=OUT), "the graph has a cycle"),
    (keras_2(IN, ("d", "Dense", reads("in", 0, 1)), outputs=OUT), r"output 1 of layer 'in', which \(InputLayer\) is"),
    (nested(DENSE, tensor=1), r"reads output 1 of layer 'n', which has 1; layers with several outputs"),
    (keras_2(IN, ONE, outputs=[("d", 1, 0)]), r"reads call 1 of layer 'd', which the model calls 1 times"),
    (keras_2(IN, ("d", "Dense", []), outputs=OUT), r"reads call 0 of layer 'd', which the model calls 0 times"),
    (keras_2(IN, ONE, outputs=[]), r"the model has no outputs"),
    (keras_2(ONE, outputs=OUT, inputs=[]), r"the model has no inputs"),
    (nested(keras_2(IN, ONE, outputs=OUT, inputs=[])), r"model 'n' has no inputs"),
    (keras_2(IN, ONE, outputs=OUT, inputs=[("d", 0, 0)]), r"has 'd' \(Dense\) as an input\. Expected an InputLayer"),
    (keras_2(IN, ONE, outputs=OUT, inputs=[("in", 0, 0)] * 2), r"the model lists an input twice"),
    (keras_2(IN, ("b", "InputLayer", []), ONE, outputs=OUT), r"'b' \(InputLayer\) is none of the inputs of the model"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_references_that_lead_nowhere_are_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        read_graph(config)
