"""The optimizer on the command line: said, shown, written, refused."""

from __future__ import annotations

import json

import checkpoints
import pytest
from optimizer_states import assert_same, tiny, written

from weight_transfer.optimizer.state import read_state
from weight_transfer.optimizer.variables import rows_by_layer
from weight_transfer.resnet.recipe import resnet_graph


def test_there_and_back(command, tmp_path):
    path, state = written(tmp_path / "m.keras", frozen=("stem.conv", "stem.bn_conv1"))
    done = command("convert", path, "-o", tmp_path / "p.safetensors", "--with-optimizer")
    assert done.code == 0
    assert "Adam after 7 steps, learning rate 0.25; momentum and velocity of" in done.stdout
    assert "p.optimizer.safetensors" in done.stdout
    assert_same(read_state(tmp_path / "p.optimizer.safetensors").state, state)
    done = command("convert", tmp_path / "p.safetensors", "-o", tmp_path / "back.keras", "--with-optimizer")
    assert (done.code, done.stdout) == (0, f"wrote {tmp_path}/back.keras\n")
    assert (tmp_path / "back.keras").read_bytes() == path.read_bytes()
    command("convert", path, "-o", tmp_path / "without.safetensors")
    assert (tmp_path / "without.safetensors").read_bytes() == (tmp_path / "p.safetensors").read_bytes()


def test_as_json(command, tmp_path):
    path, _ = written(tmp_path / "m.keras")
    found = json.loads(command("convert", path, "-o", tmp_path / "p.safetensors", "--with-optimizer", "--json").stdout)
    assert found["optimizer_output"] == str(tmp_path / "p.optimizer.safetensors")
    for file in (path, tmp_path / "p.safetensors"):
        shown = json.loads(command("inspect", file, "--json").stdout)["optimizer"]
        assert shown == found["optimizer"]
    assert (shown["class_name"], shown["iterations"], shown["learning_rate"]) == ("Adam", 7, 0.25)
    assert shown["slots"].keys() == {"momentum", "velocity"}


def test_inspect_shows_it(command, tmp_path):
    path, _ = written(tmp_path / "m.h5", frozen=("stem.conv",), name="SGD", arguments={"momentum": 0.5})
    num = sum(map(len, rows_by_layer(resnet_graph(tiny())).values())) - 2
    text = command("inspect", path).stdout
    assert f"SGD after 7 steps, learning rate 0.25; momentum of {num} weights; 1 layer frozen" in text
    rate = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 9}}
    path, _ = written(tmp_path / "s.keras", arguments={"learning_rate": rate}, learning_rate=None)
    assert "learning rate by CosineDecay" in command("inspect", path).stdout
    path, _ = written(tmp_path / "w.weights.h5")
    assert "cannot be carried over" in command("inspect", path).stdout
    assert "Adam after 7 steps" in command("inspect", path, "--optimizer", "Adam").stdout
    assert "not in the file" in command("inspect", path, "--optimizer", "Adam").stdout
    plain = checkpoints.checkpoint(tmp_path / "plain.keras", tiny())
    assert "optimizer" not in command("inspect", plain).stdout
    assert json.loads(command("inspect", plain, "--json").stdout)["optimizer"] is None


def test_a_state_that_other_weights_left_there_is_not_shown(command, tmp_path):
    path, _ = written(tmp_path / "m.keras")
    command("convert", path, "-o", tmp_path / "p.safetensors", "--with-optimizer")
    other = checkpoints.legacy_weights(tmp_path / "w.h5", {k: v * 2 for k, v in checkpoints.arrays_of(tiny()).items()})
    command("convert", other, "-o", tmp_path / "p.safetensors")
    assert "optimizer" not in command("inspect", tmp_path / "p.safetensors").stdout
    done = command("convert", tmp_path / "p.safetensors", "-o", tmp_path / "back.keras", "--with-optimizer")
    assert done.code == 2
    assert "belongs to other weights than those in p.safetensors" in done.stderr
    assert not (tmp_path / "back.keras").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.keras", "--to-folder", "x", "--with-optimizer"], "--with-optimizer writes a file beside the output"),
        (["m.keras", "-o", "p.safetensors", "--optimizer", "Adam"], "Use it with --with-optimizer"),
        (
            ["m.keras", "-o", "p.safetensors", "--with-optimizer", "--optimizer", "Adam 1"],
            "the optimizer must be a name, or a name with named arguments",
        ),
        (["plain.keras", "-o", "p.safetensors", "--with-optimizer"], "'plain.keras': holds no optimizer state"),
        (["plain.safetensors", "-o", "p.keras", "--with-optimizer"], "no optimizer state lies beside it"),
        (["m.keras", "-o", "p.safetensors", "--with-optimizer", "--optimizer", "Lion"], "No optimizer 'Lion'"),
    ],
)
def test_mistakes(arguments, message, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "m.keras")
    plain = checkpoints.checkpoint(tmp_path / "plain.keras", tiny())
    command("convert", plain, "-o", tmp_path / "plain.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = command("convert", *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
