"""What is said of a file beside its network."""

from __future__ import annotations

import json

import checkpoints
import h5py
import pytest
from click.testing import CliRunner

from weight_transfer.cli.app import app
from weight_transfer.conversion.remarks import remarks_of
from weight_transfer.converted import read_converted
from weight_transfer.graph import Graph, Layer
from weight_transfer.graph.precision import Precision


def said(*layers: tuple[str, dict], backend: str | None = "theano") -> str:
    """The remarks on a model of these layers, without arrays."""
    listed = {f"l{n}": Layer(f"l{n}", class_name, config) for n, (class_name, config) in enumerate(layers)}
    x = Layer("x", "InputLayer", {"dtype": "float32"})
    return "; ".join(remarks_of({}, Graph("m", {}, (), {"x": ()}, (), listed={"x": x, **listed}), Precision(), backend))


SAME = {"padding": "same"}


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("Conv2D", {**SAME, "strides": [2, 2]}),
        ("Convolution2D", {"border_mode": "same", "subsample": [1, 2]}),
        ("MaxPooling2D", {**SAME, "pool_size": [2, 2], "strides": None}),
    ],
)
def test_theanos_padding_of_strided_windows_is_said(class_name, config):
    assert said((class_name, config)).startswith("1 layers (l0) have strides and the padding 'same', which Theano put")
    assert said((class_name, config), backend="tensorflow") == ""


@pytest.mark.parametrize("config", [{**SAME, "strides": [1, 1]}, {"padding": "valid", "strides": 2}, {}])
def test_windows_that_theano_padded_as_tensorflow_does_are_not(config):
    assert said(("Conv2D", config)) == ""


def test_theanos_batch_norms_are_said():
    assert said(("BatchNormalization", {})).startswith("batch norms learn on as on TensorFlow; Theano added epsilon")


def test_inspect_and_convert_print_what_is_said(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    with h5py.File(source, "r+") as file:
        for group in (file, file["model_weights"]):
            group.attrs["backend"] = b"theano"
    port = tmp_path / "port.safetensors"
    for words in (["inspect", str(source)], ["convert", str(source), "-o", str(port)]):
        shown = CliRunner().invoke(app, words, env={"COLUMNS": "200"}).output
        assert "note" in shown, shown
        assert "turned by 180 degrees: the file was trained on Theano" in " ".join(shown.split())
        answer = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
        assert any("turned by 180 degrees" in remark for remark in answer["remarks"])
    assert any("turned by 180 degrees" in remark for remark in read_converted(port).description.remarks)


def test_layers_with_lora_are_said():
    assert said(("Dense", {"lora_rank": 4})).startswith("1 layers (l0) have LoRA, whose arrays the file holds added to")
    assert said(("Dense", {"lora_rank": None})) == ""


def test_a_constraint_that_is_not_known_is_said(tmp_path):
    source, port = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small()), tmp_path / "port.safetensors"
    with h5py.File(source, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        conv = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D")
        conv["config"]["kernel_constraint"] = {"class_name": "mine>Own", "config": {}}
        file.attrs["model_config"] = json.dumps(config)
    shown = CliRunner().invoke(app, ["convert", str(source), "-o", str(port)], env={"COLUMNS": "200"}).output
    assert "what it constrains is not trained" in " ".join(shown.split()), shown
    assert any("no constraint that is known" in one for one in read_converted(port).description.remarks)
