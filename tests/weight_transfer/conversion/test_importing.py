"""The one door: a file's own graph, another file's, a family's; and clear words where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import checkpoints
import h5py
import numpy as np
import pytest

from weight_transfer import (
    ArchitectureError,
    CheckpointError,
    Graph,
    Hints,
    MappingError,
    convert,
    identify,
    read_checkpoint,
)
from weight_transfer.graph import Layer
from weight_transfer.graph.facts import with_facts
from weight_transfer.resnet.layout import network_from_dict, network_to_dict


def edited(path: Path, change) -> Path:
    """A checkpoint whose model config was changed."""
    checkpoints.checkpoint(path, checkpoints.small("keras-applications"))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"], config["config"])
        file.attrs["model_config"] = json.dumps(config)
    return path


def layer(layers: list, name: str) -> dict:
    return next(row for row in layers if row["name"] == name)


def graph_of(path: Path, **hints) -> Graph:
    with read_checkpoint(path) as checkpoint:
        network = identify(checkpoint, Hints(import_as="graph", **hints)).network
    assert network.architecture is None
    return network


def test_a_graph_survives_json(tmp_path):
    network = graph_of(checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small("keras-applications")))
    assert network_from_dict(json.loads(json.dumps(network_to_dict(network)))) == network


def test_h5_and_keras_of_one_model_give_one_graph_and_one_payload(tmp_path):
    architecture = checkpoints.small("keras-applications")
    outputs = []
    for name in ("m.h5", "m.keras"):
        source = checkpoints.checkpoint(tmp_path / name, architecture)
        outputs.append(convert(source, tmp_path / f"{name}.safetensors", Hints(import_as="graph")))
    assert outputs[0].network == outputs[1].network
    first, second = (output.output.read_bytes() for output in outputs)
    start = [8 + int.from_bytes(content[:8], "little") for content in (first, second)]
    assert first[start[0] :] == second[start[1] :]


def test_regularizers_are_kept(tmp_path):
    regularizer = {"class_name": "L2", "config": {"l2": 1e-4}}

    def change(layers, _):
        layer(layers, "conv2_block1_1_conv")["config"]["kernel_regularizer"] = regularizer

    network = graph_of(edited(tmp_path / "m.h5", change))
    assert network.layers["conv2_block1_1_conv"].regularizers == {"kernel_regularizer": regularizer}


@pytest.mark.parametrize("how", ["config", "like", "get_config"])
def test_weights_alone_with_the_model_from_beside(how, tmp_path):
    architecture = checkpoints.small("keras-applications")
    model = checkpoints.checkpoint(tmp_path / "m.h5", architecture)
    weights = checkpoints.checkpoint(tmp_path / "w.h5", architecture, weights_only=True)
    beside = model
    if how != "like":
        with read_checkpoint(model) as checkpoint:
            beside = tmp_path / "model.json"
            beside.write_text(json.dumps(checkpoint.config["config"] if how == "get_config" else checkpoint.config))
    with read_checkpoint(weights) as checkpoint:
        found = identify(checkpoint, Hints(import_as="graph", **{how.removeprefix("get_"): beside}))
        for name, value in checkpoints.arrays_of(architecture).items():
            np.testing.assert_array_equal(found.arrays[name].read(), value)


def test_like_another_model_is_refused(tmp_path):
    weights = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-applications"), weights_only=True)
    other = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small("keras-applications", block_counts=(1, 1)))
    with pytest.raises((MappingError, ArchitectureError)):
        graph_of(weights, like=other)


def test_like_a_file_without_a_model_is_refused(tmp_path):
    weights = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-applications"), weights_only=True)
    with pytest.raises(ArchitectureError, match="holds no description of its model"):
        graph_of(weights, like=weights)


def test_config_that_is_none_is_refused(tmp_path):
    weights = checkpoints.checkpoint(tmp_path / "w.h5", checkpoints.small("keras-applications"), weights_only=True)
    for text in ("[1, 2]", '{"class_name": "Functional"}', '{"layers": 3}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"no description of a model.*model\.get_config\(\)"):
            graph_of(weights, config=tmp_path / "model.json")


def lambda_layer(layers, _):
    layer(layers, "conv2_block1_1_relu").update(class_name="Lambda")


def custom_class(layers, _):
    layer(layers, "conv2_block1_1_relu").update(class_name="MyReLU")


def unknown_argument(layers, _):
    layer(layers, "conv2_block1_1_conv")["config"]["sparsity"] = 0.5


def cycle(layers, _):
    layer(layers, "conv1_conv")["inbound_nodes"] = layer(layers, "conv3_block1_add")["inbound_nodes"][:1]


def half_missing(layers, _):
    layers.remove(layer(layers, "conv2_block1_add"))


def malformed(layers, _):
    layer(layers, "conv2_block1_1_conv")["config"]["filters"] = "many"


def mixed_formats(layers, _):
    layer(layers, "conv2_block1_1_conv")["config"]["data_format"] = "channels_first"


BROKEN = {
    "Lambda": (lambda_layer, "layer 'conv2_block1_1_relu' (Lambda): this class is not supported"),
    "a custom class": (custom_class, "layer 'conv2_block1_1_relu' (MyReLU): this class is not supported"),
    "an unknown argument": (unknown_argument, "'conv2_block1_1_conv' (Conv2D): unknown arguments sparsity=0.5"),
    "a cycle": (cycle, "conv1_conv"),
    "half a graph": (half_missing, "conv2_block1_add"),
    "a malformed argument": (malformed, "'conv2_block1_1_conv' (Conv2D): filters='many'"),
    "two data formats": (mixed_formats, "channels_first at 'conv2_block1_1_conv'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_graphs_that_cannot_be_imported_are_one_message_and_nothing_written(what, tmp_path):
    change, text = BROKEN[what]
    source = edited(tmp_path / "m.h5", change)
    command = [sys.executable, "-m", "weight_transfer", "convert", str(source), "-o", str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.safetensors").exists()


def test_a_damaged_description_of_a_graph_is_refused():
    with pytest.raises(ArchitectureError, match="not the description of an imported network"):
        Graph.from_dict({"name": "x"})


def test_an_input_without_a_shape_is_refused():
    graph = with_facts(Graph("x", {}, (), {"i": ()}, ("i",), listed={"i": Layer("i", "InputLayer")}), None)
    with pytest.raises(ArchitectureError, match="input 'i' has no shape"):
        graph.checked()
