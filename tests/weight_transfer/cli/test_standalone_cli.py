"""``convert --to-folder``, as a person and as a script meet it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import pytest

FILES = ["README.md", "__init__.py", "model.py", "weights.safetensors"]


@pytest.fixture
def run(command, torch_here) -> Callable[..., Any]:
    """``run(model, "-o", output)`` is ``weight-transfer convert``."""
    return functools.partial(command, "convert")


@pytest.fixture
def model(tmp_path) -> Path:
    return checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())


def test_a_keras_file_becomes_a_package_in_processes_of_its_own(model, tmp_path):
    words = [sys.executable, "-m", "weight_transfer", "convert", str(model), "--to-folder", str(tmp_path / "port")]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "port, a package that needs torch and safetensors alone" in done.stdout
    assert sorted(path.name for path in (tmp_path / "port").iterdir()) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.h5", "port"]


def test_file_and_folder_at_once_then_from_the_file(model, tmp_path, run):
    output = tmp_path / "m.safetensors"
    done = run(model, "-o", output, "--to-folder", tmp_path / "one", "--json")
    report = json.loads(done.stdout)
    assert (report["output"], report["folder"], report["files"]) == (str(output), str(tmp_path / "one"), FILES)
    done = run(output, "--to-folder", tmp_path / "two", "--json")
    assert json.loads(done.stdout) == {"folder": str(tmp_path / "two"), "files": FILES}
    for name in FILES:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two.replace(b"from two import", b"from one import")
    assert (tmp_path / "one" / "weights.safetensors").read_bytes() == output.read_bytes()


def test_back_to_keras_and_a_folder(model, tmp_path, run):
    run(model, "-o", tmp_path / "m.safetensors")
    done = run(tmp_path / "m.safetensors", "-o", tmp_path / "back.keras", "--to-folder", tmp_path / "port")
    assert done.code == 0, done.stderr
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()] == ["back.keras", "port"]


def test_json_without_a_file_names_none(model, tmp_path, run):
    report = json.loads(run(model, "--to-folder", tmp_path / "port", "--json").stdout)
    assert report["output"] is None
    assert report["name"] == "ResNet-11"


def test_refusals_leave_everything_as_it_was(model, tmp_path, run):
    done = run(model)
    assert done.code == 2
    assert "--to-folder" in done.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    done = run(model, "-o", tmp_path / "m.safetensors", "--to-folder", tmp_path / "full")
    assert done.code == 2
    assert "full is not empty" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "model.h5"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_what_packaging_refuses_is_told_in_its_words(tmp_path, run):
    (tmp_path / "x.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    done = run(tmp_path / "x.safetensors", "--to-folder", tmp_path / "port")
    assert done.code == 2
    assert done.stderr.startswith("error: ")
    assert "holds no converted network" in done.stderr
    assert not (tmp_path / "port").exists()
