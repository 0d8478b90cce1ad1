"""Commands read what `save_pretrained` wrote, the folder and the file in it, as they read a converted file."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest
from handmade_graphs import conv, dense, network, row

from resnet_torch import load_model
from resnet_torch.imported import import_graph
from weight_transfer.converted import is_converted, read_converted


@pytest.fixture
def folder(tmp_path) -> Path:
    load_model(checkpoints.checkpoint(tmp_path / "m.keras", checkpoints.small())).save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.fixture(params=["folder", "file"])
def saved(request, folder) -> Path:
    return folder if request.param == "folder" else folder / "model.safetensors"


def test_inspect(saved, command):
    found = json.loads(command("inspect", saved, "--json").stdout)
    assert (found["name"], found["origin"]["source"]) == ("ResNet-11", "m.keras")


def test_convert_back_to_keras_and_to_a_package(saved, command, torch_here, tmp_path):
    done = command("convert", saved, "-o", tmp_path / "back.keras", "--to-folder", tmp_path / "package")
    assert done.code == 0, done.stderr
    actual, expected = (load_model(path).state_dict() for path in (tmp_path / "back.keras", tmp_path / "m.keras"))
    assert all(actual[name].equal(tensor) for name, tensor in expected.items())
    assert (tmp_path / "package" / "weights.safetensors").is_file()


def test_what_is_said_of_a_checkpoint_is_idle(saved, command, tmp_path):
    done = command("convert", saved, "-o", tmp_path / "back.keras", "--dialect", "keras-2.2")
    assert done.code == 2
    assert "--dialect" in done.stderr
    assert not (tmp_path / "back.keras").exists()


def test_an_imported_graph(command, tmp_path):
    rows = [conv("c", "image"), row("Flatten", "flat", ["c"]), dense("out", "flat", 4, activation="softmax")]
    graph = network(*rows, outputs=[["out", 0, 0]])
    import_graph(graph).save_pretrained(tmp_path / "folder")
    assert read_converted(tmp_path / "folder").network == graph
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["graph"] == json.loads(
        json.dumps(graph.to_dict())
    )
    found = json.loads(command("inspect", tmp_path / "folder", "--json").stdout)
    assert found["name"] == "small"


def test_other_folders_are_no_converted_files(command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert not is_converted(tmp_path / "empty")
    done = command("inspect", tmp_path / "empty")
    assert done.code == 2
    assert "a folder, not a checkpoint file" in done.stderr
