"""A recording serves machines without Keras: here real processes that cannot import it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import keras_resnets
import numpy as np
import pytest

from weight_transfer.converted import read_converted, write_converted
from weight_transfer.parity.recording import FACTS, RECORDING, read_recording, unpacked
from weight_transfer.parity.report import LAYER_CHECKS, OWNER_CHECKS
from weight_transfer.tensor_file import Content, Tensor

# Read by Python at start, here and in the processes that it starts: what is named is as if it were not installed.
SITE = """
import sys
from importlib.machinery import PathFinder

ABSENT = {absent!r}


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""
KERAS = ("keras", "tensorflow", "tf_keras", "skimage")
RECORDING_BYTES = 1_250_000


@pytest.fixture
def run(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line, or Python, where some packages are absent."""

    def call(
        *arguments: str | Path, absent: tuple[str, ...] = (), module: tuple[str, ...] = ("-m", "weight_transfer")
    ) -> subprocess.CompletedProcess[str]:
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(SITE.format(absent=absent))
        environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", "NO_COLOR": "1"}
        command = [sys.executable, *module, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600)

    return call


@pytest.mark.parametrize("package", KERAS)
def test_what_is_absent_cannot_be_imported(package, run):
    done = run("-c", f"import {package}", absent=KERAS, module=())
    assert f"No module named '{package}'" in done.stderr
    assert done.returncode == 1


@pytest.mark.keras
def test_a_recording_verifies_a_port_and_nothing_else_does(run, tmp_path, keras_side):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", **checkpoints.SMALL)
    recording = tmp_path / "reference.safetensors"
    assert run("record", source, "-o", recording).returncode == 0
    assert run("convert", source, "-o", tmp_path / "port.safetensors").returncode == 0

    done = run("verify", source, tmp_path / "port.safetensors", "--reference", recording, "--json", absent=KERAS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "SAME FUNCTION"
    assert found["loaded_by"].startswith("keras 3")
    of_network, of_layers = {"inference", "training", "loss", "gradient", "statistics"}, LAYER_CHECKS
    assert {row["check"] for row in found["rows"]} == of_network | of_layers | OWNER_CHECKS

    done = run("verify", source, tmp_path / "port.safetensors", absent=KERAS)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: this needs keras and tensorflow, not installed here. Install both sides: pip install "
        "'keras-resnet-to-torch[verify]', or take a recording made elsewhere: weight-transfer verify --reference"
    ]
    done = run("record", source, "-o", tmp_path / "again.safetensors", absent=KERAS)
    assert done.returncode == 2
    assert "this needs keras and tensorflow" in done.stderr
    assert not (tmp_path / "again.safetensors").exists()


@pytest.mark.keras
def test_a_port_and_a_recording_are_enough(run, tmp_path, keras_side):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", **checkpoints.SMALL)
    recording, port = tmp_path / "reference.safetensors", tmp_path / "port.safetensors"
    assert run("record", source, "-o", recording).returncode == 0
    assert run("convert", source, "-o", port).returncode == 0
    assert run("convert", source, "-o", tmp_path / "graph.safetensors", "--as", "graph").returncode == 0
    source.unlink()

    def verified(port: Path, recording: Path, code: int) -> dict[str, Any]:
        done = run("verify", port, "--reference", recording, "--json", absent=KERAS)
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    found = verified(port, recording, 0)
    assert found["verdict"] == "SAME FUNCTION"
    assert found["source"] == "resnet.h5"
    assert found["weights_equal"] == found["weights_total"] > 50
    assert found["fields_total"] > 300

    # What no picture shows is compared with what the recording keeps of the checkpoint.
    right = read_converted(port)
    arrays = right.tensors()
    arrays["stem.bn_conv1.running_mean"] = arrays["stem.bn_conv1.running_mean"].copy()
    arrays["stem.bn_conv1.running_mean"][0] = np.nextafter(arrays["stem.bn_conv1.running_mean"][0], np.float32(9))
    wrong = tmp_path / "wrong.safetensors"
    write_converted(wrong, [Tensor.of(name, array) for name, array in arrays.items()], right.description)
    found = verified(wrong, recording, 1)
    assert found["verdict"] == "DIFFERS"
    assert found["weights_differing"] == ["bn_conv1/moving_mean"]

    done = run("verify", tmp_path / "graph.safetensors", "--reference", recording, absent=KERAS)
    assert done.returncode == 2
    assert "Record again: weight-transfer record --as graph" in done.stderr

    old = without_facts(recording, tmp_path / "old.safetensors")
    assert "does not hold what its checkpoint says" in verified(port, old, 3)["doubt"]

    done = run("verify", port, absent=KERAS)
    assert done.returncode == 2
    assert "a converted port alone. Expected what to compare it with" in done.stderr

    done = run("verify", port, "--reference", recording, "--preprocessing", "tf", absent=KERAS)
    assert done.returncode == 2
    assert "--preprocessing does not apply" in done.stderr


def without_facts(recording: Path, output: Path) -> Path:
    """A recording as earlier versions wrote it."""
    file = read_recording(recording).file
    facts = {key: value for key, value in unpacked(file).items() if key != "checkpoint"}
    tensors = (tensor for name, tensor in file.tensors.items() if name != FACTS)
    Content(RECORDING, facts, tuple(tensors)).write(output)
    return output


@pytest.mark.slow
@pytest.mark.keras
def test_the_recording_of_a_resnet_50_is_small_and_verifies_it(run, tmp_path, keras_side):
    source = keras_side(keras_resnets.application, tmp_path / "resnet50.h5", "ResNet50")
    recording = tmp_path / "reference.safetensors"
    done = run("record", source, "-o", recording, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size_bytes"] == recording.stat().st_size <= RECORDING_BYTES
    entries = read_recording(recording).entries
    by_check = {
        check: {entry.name for entry in entries if entry.check == check}
        for check in ("inference", "training", "gradient", "statistics")
    }
    assert len(by_check["inference"]) == len(by_check["training"])
    assert len(by_check["gradient"]) + len(by_check["statistics"]) == 320
    done = run("verify", source, "--reference", recording, "--json", absent=KERAS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["weights_total"] == 320
    assert run("convert", source, "-o", tmp_path / "port.safetensors").returncode == 0
    source.unlink()
    done = run("verify", tmp_path / "port.safetensors", "--reference", recording, "--json", absent=KERAS)
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    assert (alone["verdict"], alone["weights_equal"]) == ("SAME FUNCTION", 320)
    assert alone["fields_total"] == found["fields_total"]
