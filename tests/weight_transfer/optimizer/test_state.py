"""The file of an optimizer's state: both files or neither, and what is no such file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optimizer_states
import pytest
import safetensors.numpy
from optimizer_states import tiny, written

from weight_transfer import CheckpointError, MappingError, TransferError, convert, export
from weight_transfer.converted import read_converted
from weight_transfer.fingerprint import fingerprint_of
from weight_transfer.optimizer import file_pair
from weight_transfer.optimizer.state import (
    LossScale,
    earlier_state,
    path_of_state,
    read_state,
    state_beside,
    state_content,
)
from weight_transfer.tensor_file import METADATA_KEY


@pytest.fixture
def port(tmp_path):
    path, _ = written(tmp_path / "m.keras")
    return convert(path, tmp_path / "m.safetensors", with_optimizer=True).output


def test_everything_is_kept(tmp_path):
    state = optimizer_states.state_of(
        tiny(), frozen=("stem.conv",), u_product=0.5, loss_scale=LossScale(8.0, 3, 20), loss="mse"
    )
    path = tmp_path / "x.optimizer.safetensors"
    origin = read_converted(convert(written(tmp_path / "m.keras")[0], tmp_path / "m.safetensors").output).origin
    state_content(state, "abc", origin).write(path)
    saved = read_state(path)
    optimizer_states.assert_same(saved.state, state)
    assert (saved.fingerprint, saved.origin) == ("abc", origin)
    assert (saved.state.loss_scale, saved.state.loss) == (LossScale(8.0, 3, 20), "mse")


def test_the_fingerprint_is_of_names_dtypes_shapes_and_numbers(port):
    tensors = read_converted(port).tensors()
    right = fingerprint_of(reversed(tensors.items()))
    assert right == read_state(path_of_state(port)).fingerprint
    name = next(iter(tensors))
    for changed in (tensors[name] + 1, tensors[name].astype("float64"), tensors[name][None]):
        assert fingerprint_of({**tensors, name: changed}.items()) != right
    assert fingerprint_of({**{k: v for k, v in tensors.items() if k != name}, "x": tensors[name]}.items()) != right


def test_a_failure_leaves_both_files_as_they_were(port, tmp_path, monkeypatch):
    files = [port, path_of_state(port)]
    before = [file.read_bytes() for file in files]
    path, _ = written(tmp_path / "other.keras", iterations=99)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file_pair, "state_content", full)
    with pytest.raises(TransferError, match="No space left on device"):
        convert(path, port, with_optimizer=True)
    assert [file.read_bytes() for file in files] == before
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("with_earlier", [True, False])
def test_weights_that_cannot_get_their_name_take_the_state_back(with_earlier, port, tmp_path, monkeypatch):
    path, _ = written(tmp_path / "other.keras", iterations=99)
    output = port if with_earlier else tmp_path / "new.safetensors"
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    replace = os.replace

    def only_states(source, target):
        if Path(target) == output:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", only_states)
    with pytest.raises(TransferError, match="Input/output error"):
        convert(path, output, with_optimizer=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


KILLED = """
import os, sys
from weight_transfer import convert
source, port, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
replace, done = os.replace, []
def killed(*paths):
    if len(done) == times:
        os._exit(9)
    done.append(paths)
    replace(*paths)
os.replace = killed
convert(source, port, with_optimizer=True)
os._exit(0)
"""


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_a_kill_between_the_renames_leaves_both_files_or_neither(times, port, tmp_path):
    path, _ = written(tmp_path / "other.keras", tiny(filters=((4, 4), (8, 8))), iterations=99)
    earlier = read_state(state_beside(port)).state.iterations
    for kill in range(2):
        if kill and 0 < times < 3:
            times -= 1  # the earlier state has its other name already
        done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(port), str(times)], timeout=60)
        assert done.returncode == (0 if times == 3 else 9)
        saved = read_state(state_beside(port))
        assert saved.state.iterations == (99 if times == 3 else earlier)
        assert saved.fingerprint == fingerprint_of(read_converted(port).tensors().items())
        export(port, tmp_path / "back.keras", with_optimizer=True)
    convert(path, port, with_optimizer=True)
    assert read_state(path_of_state(port)).state.iterations == 99
    assert not earlier_state(path_of_state(port)).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"x" * 40), "not a readable safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "not a readable safetensors file"),
        (lambda path: _metadata(path, None), "holds no optimizer state. Expected the .optimizer.safetensors file"),
        (lambda path: _metadata(path, "{"), "its metadata is damaged"),
        (lambda path: _metadata(path, '{"kind": "optimizer state", "format": 1}'), "its metadata is damaged"),
        (lambda path: _metadata(path, '{"kind": "optimizer state"}'), "its metadata is damaged"),
        (lambda path: _changed(path, format=2), "its format is '2', expected 1. Convert the checkpoint again"),
        (lambda path: _changed(path, class_name="Lion"), "damaged ..class_name 'Lion"),
        (lambda path: _changed(path, more=1), "its metadata is damaged"),
        (lambda path: _tensors(path, {"momentum/x": np.ones(2, "int32")}), r"'momentum/x' is of type I32"),
    ],
)
def test_what_is_no_state(change, message, port):
    path = path_of_state(port)
    change(path)
    with pytest.raises(CheckpointError, match=message):
        read_state(path)


def test_a_state_of_another_network_is_not_written_back(port, tmp_path):
    _tensors(path_of_state(port), {"momentum/nowhere.weight": np.ones(2, "float32")})
    with pytest.raises(MappingError, match=r"not that of this network. Not part of it:\n  nowhere.weight"):
        export(port, tmp_path / "back.keras", with_optimizer=True)
    assert not (tmp_path / "back.keras").exists()


def _metadata(path, text):
    metadata = {"format": "pt"} if text is None else {METADATA_KEY: text}
    path.write_bytes(safetensors.numpy.save({"x": np.ones(2, "float32")}, metadata=metadata))


def _changed(path, **values):
    with safetensors.safe_open(path, framework="np") as file:
        text = file.metadata()[METADATA_KEY]
    _metadata(path, json.dumps({**json.loads(text), **values}))


def _tensors(path, tensors):
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    path.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))
