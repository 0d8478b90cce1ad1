"""What a port says of its network against what its file says: whatever acts, and is planted, is named."""

from __future__ import annotations

import copy
import dataclasses
import json

import checkpoints
import h5py
import pytest

from weight_transfer import Hints, convert, identify, read_checkpoint
from weight_transfer.architecture import Head
from weight_transfer.converted import read_converted
from weight_transfer.graph.precision import Precision
from weight_transfer.parity.checkpoint_facts import CheckpointFacts, facts_of
from weight_transfer.parity.fields import differing_fields
from weight_transfer.resnet.recipe import resnet_graph

L2 = {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.01}, "registered_name": None}
HEAD = Head(hidden_units=5, classes=4, dropout=0.25)


def written(folder, *, own_head=False):
    """A full model whose convolution ``res2a_branch2b`` has a penalty and does not learn."""
    path = checkpoints.checkpoint(folder / "m.h5", checkpoints.small(head=HEAD))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["name"] == "res2a_branch2b":
                layer["config"] |= {"kernel_regularizer": L2, "trainable": False}
            if own_head and layer["name"] == "fc_01":
                layer["config"]["activation"] = "elu"
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.fixture(params=["native", "own head", "graph"])
def pair(request, tmp_path):
    source = written(tmp_path, own_head=request.param == "own head")
    hints = Hints(import_as="graph") if request.param == "graph" else None
    port = read_converted(convert(source, tmp_path / "port.safetensors", hints).output)
    return source, port.description


def said_by(source, *, is_graph=False):
    """What a file says, as a recording keeps it."""
    with read_checkpoint(source) as checkpoint:
        facts = facts_of(checkpoint, identify(checkpoint, Hints(import_as="graph") if is_graph else None))
    return CheckpointFacts.from_dict(json.loads(json.dumps(dataclasses.asdict(facts)))).described


def differing(source, description):
    total, found = differing_fields(said_by(source, is_graph=description.network.architecture is None), description)
    assert total > 300
    return {(one.layer, one.field): (one.expected, one.actual) for one in found}


def with_settings(description, path, **settings):
    """The description with another setting of a layer of its graph."""
    network = description.network
    layer = network.layers[path]
    layers = {**network.layers, path: dataclasses.replace(layer, settings={**layer.settings, **settings})}
    return dataclasses.replace(description, network=dataclasses.replace(network, layers=layers))


def test_a_conversion_says_what_its_file_says(pair):
    assert differing(*pair) == {}


def test_what_acts_in_training_alone_is_named(pair):
    source, description = pair
    dropout = next(path for path, one in description.network.layers.items() if one.class_name == "Dropout")
    assert differing(source, with_settings(description, dropout, rate=0.5)) == {(dropout, "rate"): ("0.25", "0.5")}
    norm = "bn2a_branch2b"
    assert differing(source, with_settings(description, norm, momentum=0.9)) == {(norm, "momentum"): ("0.99", "0.9")}
    unfrozen = dataclasses.replace(description, frozen=())
    assert differing(source, unfrozen) == {("res2a_branch2b", "trainable"): ("false", "true")}
    if description.network.architecture is not None:
        unpunished = dataclasses.replace(description, regularizers={})
        ((name, (expected, actual)),) = differing(source, unpunished).items()
        assert name == ("res2a_branch2b", "kernel_regularizer")
        assert "L2" in expected
        assert actual == "nothing"
    half = dataclasses.replace(description, precision=Precision(policies={"conv1": "mixed_float16"}))
    assert differing(source, half) == {("conv1", "dtype policy"): ("nothing", "mixed_float16")}


def test_what_acts_in_inference_is_named(pair):
    source, description = pair
    norm = "bn2a_branch2b"
    found = differing(source, with_settings(description, norm, epsilon=1.001e-5))
    assert found == {(norm, "epsilon"): ("0.001", "1.001e-05")}
    network = description.network
    add = next(call for call in network.calls if network.layers[call.layer].class_name == "Add")
    calls = [dataclasses.replace(call, inputs=call.inputs[::-1]) if call is add else call for call in network.calls]
    turned = dataclasses.replace(description, network=dataclasses.replace(network, calls=tuple(calls)))
    assert set(differing(source, turned)) == {(add.value, "reads")}


def test_a_layer_too_few_and_another_network_are_named(tmp_path):
    source = written(tmp_path)
    description = read_converted(convert(source, tmp_path / "port.safetensors").output).description
    without = resnet_graph(checkpoints.small(head=dataclasses.replace(HEAD, dropout=0.0)))
    found = differing(source, dataclasses.replace(description, network=without))
    assert found["dropout_01", "class"] == ("Dropout", "nothing")
    assert found["dropout_01", "rate"] == ("0.25", "nothing")
    headed = written(tmp_path, own_head=True)
    found = differing(headed, description)
    assert found["network", "form"] == ("headed", "architecture")


def test_a_file_of_weights_alone_shows_no_size(tmp_path):
    small = checkpoints.small("keras-applications")
    source = checkpoints.checkpoint(tmp_path / "w.h5", small, weights_only=True)
    port = read_converted(convert(source, tmp_path / "p.safetensors", Hints(in_shape=(64, 64))).output).description
    assert differing_fields(said_by(source), port)[1] == []
    other = dataclasses.replace(small, conventions=dataclasses.replace(small.conventions, epsilon=1e-3))
    wrong = dataclasses.replace(copy.copy(port), network=resnet_graph(other))
    assert {one.field for one in differing_fields(said_by(source), wrong)[1]} == {"epsilon"}
