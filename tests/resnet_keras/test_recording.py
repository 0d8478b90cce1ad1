"""What Keras is recorded to compute is what the port computes: models of functions, with every value a tap."""

from __future__ import annotations

import keras_functions
import keras_references
import pytest
from sweeps import slow_but
from zoo import GRAPH, assert_equal

from weight_transfer import convert, verify

PORTED = [(family, name) for family, models in keras_functions.PORTED.items() for name in models]
USUAL = [(family, name) for family, name in PORTED if name in ("sum", "one channel", "a model called twice", "caffe")]


@pytest.mark.parametrize(("family", "name"), slow_but(USUAL, PORTED))
def test_recorded_values_are_those_of_the_port(keras_side, tmp_path, family, name, runner):
    (source,) = keras_side(keras_functions.written, tmp_path, family, name).files.values()
    port = tmp_path / "port.safetensors"
    network = convert(source, port, GRAPH).network
    found = verify(source, port, GRAPH, devices=("cpu",), runner=runner)
    assert_equal(found)
    assert {row.name for row in found.of("inference")} == {call.value for call in network.calls}
    assert found.loaded_by.startswith(f"{family} ")


@pytest.mark.parametrize("activation", slow_but(["sparsemax"], ["sparsemax", "sparse_sigmoid"]))
def test_activation_of_keras_3_alone_is_recorded(keras_side, tmp_path, activation, runner):
    source = keras_side(keras_references.written_with_activation, tmp_path, activation)
    port = tmp_path / "port.safetensors"
    convert(source, port, GRAPH)
    found = verify(source, port, GRAPH, devices=("cpu",), runner=runner)
    assert_equal(found)
    # One of four numbers is all there is: its gradient is zero, which proves nothing.
    assert not list(found.of("gradient"))
    assert any(line.startswith("gradients that are zero in Keras prove nothing: conv2d") for line in found.assumed)
