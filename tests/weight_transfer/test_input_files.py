"""No command writes over what it reads: every input of each against every output."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import checkpoints
import click
import image_data
import numpy as np
import pytest
from commands import commands
from optimizer_states import written

from resnet_keras.__main__ import app as keras_app
from resnet_torch.__main__ import app as torch_app
from weight_transfer import convert, export
from weight_transfer.cli.app import app
from weight_transfer.conversion.hints import Hints
from weight_transfer.errors import TransferError
from weight_transfer.input_files import protect_inputs
from weight_transfer.optimizer.state import path_of_state
from weight_transfer.training.run_folder import RunFolder


def same(path: Path) -> Path:
    return path


def hard_link(path: Path) -> Path:
    os.link(path, path.with_name("hard"))
    return path.with_name("hard")


def symbolic_link(path: Path) -> Path:
    path.with_name("soft").symlink_to(path)
    return path.with_name("soft")


def other_spelling(path: Path) -> Path:
    return path.parent / ".." / path.parent.name / path.name


@pytest.fixture
def output(tmp_path) -> Path:
    path = tmp_path / "output"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("alias", [same, hard_link, symbolic_link, other_spelling])
def test_output_is_an_input(output, tmp_path, alias):
    with pytest.raises(TransferError, match=r"the output is the input: .* are one file\. Name another output"):
        protect_inputs([None, alias(output)], [None, tmp_path / "another", output])


def test_output_is_no_input(output, tmp_path):
    (tmp_path / "copy").write_bytes(b"old")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("new", "copy", "loop"):
        protect_inputs([tmp_path / name], [output])
    protect_inputs([tmp_path / "new"], [tmp_path / "missing", "."])


def test_two_outputs_are_one_file(output, tmp_path):
    with pytest.raises(TransferError, match=r"two outputs are one file. Name a file for each. Received: .*twice"):
        protect_inputs([tmp_path / "a", other_spelling(tmp_path / "a")], [])


def test_what_belongs_to_an_input_is_one(output, tmp_path):
    folder = tmp_path / "images" / "cats"
    folder.mkdir(parents=True)
    cat = folder / "cat.png"
    index, shard = tmp_path / "a.weights.json", tmp_path / "a_00000.weights.h5"
    index.write_text(json.dumps({"weight_map": {"/layers/conv": [shard.name], "/layers/dense": "other.h5"}}))
    state = path_of_state(tmp_path / "port.safetensors")
    for path in (cat, shard, tmp_path / "other.h5", state):
        path.write_bytes(b"x")
    for source, belonging in ((folder.parent, cat), (index, shard), (index, tmp_path / "other.h5")):
        with pytest.raises(TransferError, match="the output is the input"):
            protect_inputs([belonging], [source])
    with pytest.raises(TransferError, match="the output is the input"):
        protect_inputs([state], [tmp_path / "port.safetensors"])
    for text in ("{", '{"weight_map": 3}', '{"weight_map": {"a": [1]}}', "[" * 100_000):
        index.write_text(text)
        protect_inputs([shard], [index])


# The options of every command that name a file or a folder: read, written, or neither of a kind to be confused.
READ = {
    "convert": ("file", "config", "like"),
    "verify": ("file", "converted", "reference", "config", "like"),
    "verify-training": ("file", "converted", "data", "config", "like"),
    "record": ("file", "config", "like"),
    "train": ("data", "checkpoint", "initial_weights", "order", "resume"),
    "curves": ("runs",),
    # These write nothing.
    "inspect": ("file", "config", "like"),
    "check": ("certificate", "model"),
    "sensitivity": ("file", "reference", "config", "like"),
    "predict": ("model", "images", "classes", "config", "like"),
    "evaluate": ("model", "data"),
    "summary": (),
    "compare": (),
    "demo": (),
}
WRITTEN = {
    "convert": ("output", "to_folder"),
    "verify": ("report", "certificate", "junit"),
    "verify-training": ("curves",),
    "record": ("output",),
    "train": ("output", "write_order", "log_steps"),
    "curves": ("output",),
    "demo": ("folder",),
}


@pytest.mark.parametrize("group", [app, torch_app, keras_app], ids=["weight-transfer", "resnet_torch", "resnet_keras"])
def test_every_option_that_names_a_file_is_known_here(group):
    assert commands(group)
    for name, command in commands(group).items():
        named = {
            param.name
            for param in command.params
            if isinstance(param.type, click.Path)
            or param.metavar in ("FILE", "FOLDER")
            or param.name in ("data", "runs")
        }
        assert named == {*READ[name], *WRITTEN.get(name, ())}, name


@pytest.fixture
def files(tmp_path, monkeypatch) -> dict[str, Path]:
    """An existing file for every option, each its own."""
    monkeypatch.chdir(tmp_path)
    model = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    port = convert(model, tmp_path / "port.safetensors").output
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.recipe.write_text("{}")
    data = image_data.write_npz(tmp_path / "data.npz", train=10, test=4)
    for name in ("config", "like", "reference", "order", "classes"):
        (tmp_path / name).write_text(name)
    more = {name: tmp_path / name for name in ("config", "like", "reference", "order", "classes")}
    return {"file": model, "converted": port, "data": data, "checkpoint": port, "initial_weights": port, **more}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PAIRS = [
    (command, read, write)
    for command in ("convert", "verify", "verify-training", "record", "train")
    for read in READ[command]
    for write in WRITTEN[command]
    if (read, write) != ("order", "write_order")  # one excludes the other
    if write != "to_folder" and read != "resume" and (command, write) != ("train", "output")
]


@pytest.mark.parametrize(("command", "read", "write"), PAIRS)
def test_no_input_is_written_over(command, read, write, files):
    before = {path: digest(path) for path in files.values()}
    arguments = {name: files[name] for name in ("data" if command == "train" else "file", read)}
    if command == "train":
        arguments["output"] = "new_run"
    if command == "record":
        arguments.pop("output", None)
    arguments[write] = files[read]
    words = [command]
    for param in commands(app)[command].params:
        if param.name in arguments:
            option = [] if isinstance(param, click.Argument) else [max(param.opts, key=len)]
            words += [*option, str(arguments[param.name])]
    with pytest.raises(TransferError, match="the output is the input"):
        app.main(words, standalone_mode=False)
    assert {path: digest(path) for path in before} == before


def test_the_library_protects_its_inputs_too(tmp_path):
    model = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    like = checkpoints.checkpoint(tmp_path / "like.h5", checkpoints.small())
    for hints in (Hints(config=like), Hints(like=like)):
        with pytest.raises(TransferError, match="the output is the input"):
            convert(model, like, hints)
    port = tmp_path / "port.safetensors"
    path_of_state(port).write_bytes(b"x")
    with pytest.raises(TransferError, match="the output is the input"):
        convert(model, port, Hints(like=path_of_state(port)), with_optimizer=True)
    trained = convert(written(tmp_path / "trained.keras")[0], port, with_optimizer=True)
    assert trained.optimizer_output is not None
    with pytest.raises(TransferError, match="the output is the input"):
        export(port, trained.optimizer_output)


@pytest.mark.parametrize("name", ["b.keras", "b.h5", "b.weights.h5", "B.HDF5"])
def test_safetensors_are_not_written_under_a_name_of_keras(name, tmp_path):
    model = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    with pytest.raises(TransferError, match=rf"{name}: a Keras checkpoint is converted to safetensors, .*Name it \*\."):
        convert(model, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_file_in_the_package_s_folder(tmp_path):
    checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    (tmp_path / "alone").mkdir()
    words = ["convert", str(tmp_path / "model.h5"), "-o", str(tmp_path / "alone" / "port.safetensors")]
    with pytest.raises(TransferError, match=r"port.safetensors lies in .*alone, which becomes a package. Name a file"):
        app.main([*words, "--to-folder", str(tmp_path / "alone")], standalone_mode=False)
    assert list((tmp_path / "alone").iterdir()) == []


def test_shards_of_data_are_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s-1.tar").write_bytes(b"shard")
    words = ["train", "--data", "s-{0..1}.tar", "-o", "run", "--log-steps", "s-1.tar"]
    with pytest.raises(TransferError, match=r"the output is the input: s-1.tar"):
        torch_app.main(words, standalone_mode=False)
    words[2] = "s-{0..1.tar"
    with pytest.raises(TransferError, match=r"s-\{0..1.tar: braces that do not match"):
        torch_app.main(words, standalone_mode=False)


@pytest.mark.parametrize(("field", "flag"), [("log_steps", "--log-steps"), ("write_order", "--write-order")])
@pytest.mark.parametrize(
    "place", ["../precious.csv", "/tmp/precious.csv", "run/../precious.csv", "run/link/precious.csv"]
)
def test_a_run_folder_s_recipe_writes_nowhere_else(field, flag, place, tmp_path, monkeypatch):
    """The folder may be somebody else's."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / "link").symlink_to(tmp_path)
    recipe = {"data": "data.npz", "output": "elsewhere", field: place}
    folder.recipe.write_text(json.dumps({"side": "resnet_torch", "side_options": {}, "recipe": recipe}))
    before = folder.recipe.read_text()
    with pytest.raises(TransferError, match=rf"outside of the run folder. If that is meant, say so: {flag} "):
        torch_app.main(["train", "--resume", "run"], standalone_mode=False)
    assert folder.recipe.read_text() == before
    assert np.all([not (tmp_path / name).exists() for name in ("elsewhere", "precious.csv")])
