"""``record`` as a person and as a script meet it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import read_recording
from weight_transfer.parity.report import LAYER_CHECKS
from weight_transfer.parity.sketch import COMPACT, LIVE


def test_record_says_what_it_wrote(verified, command, here, tmp_path):
    output = tmp_path / "reference.safetensors"
    done = command("record", verified.source, "-o", output)
    assert done.code == 0, done.stderr
    found = read_recording(output)
    assert found.detail == COMPACT
    assert str(output) in done.stdout
    assert "keras 3" in done.stdout
    assert f"{len(found.entries):,}; {COMPACT.name}" in done.stdout
    assert all(case.name in done.stdout for case in found.cases)
    assert ["left", "out", "nothing"] in [line.split() for line in done.stdout.splitlines()]
    assert os.listdir(tmp_path) == [output.name]


def test_record_in_json(verified, command, here, tmp_path):
    output = tmp_path / "reference.safetensors"
    done = command("record", verified.source, "-o", output, "--json")
    assert done.code == 0
    values = json.loads(done.stdout)
    found = read_recording(output)
    assert values == {
        "output": str(output),
        "size_bytes": output.stat().st_size,
        "source_sha256": found.origin.sha256,
        "loaded_by": found.origin.loaded_by,
        "detail": COMPACT.name,
        "inputs": [case.name for case in found.cases],
        "tensors": len(found.entries),
    }


def test_what_was_recorded_twice_is_equal(verified, command, here, tmp_path):
    """But for the time: the inputs, the samples and the signs are the same."""
    output = tmp_path / "reference.safetensors"
    assert command("record", verified.source, "-o", output).code == 0
    one, other = read_recording(output), read_recording(verified.recording)
    of_images = [[entry for entry in found.entries if entry.check not in LAYER_CHECKS] for found in (one, other)]
    assert of_images[0] == of_images[1]
    assert one.exact_runs.seed != other.exact_runs.seed  # numbers that nobody can have built a port for
    for entry in of_images[0]:
        assert one.expected(entry).kept.tolist() == other.expected(entry).kept.tolist()


def test_whole_tensors_on_request(verified, command, here, tmp_path):
    output = tmp_path / "reference.safetensors"
    assert command("record", verified.source, "-o", output, "--whole").code == 0
    assert read_recording(output).detail == LIVE
    assert output.stat().st_size > 2 * verified.recording.stat().st_size


BAD_OUTPUTS = {
    "a missing folder": ("nowhere/out", "the output folder"),
    "a folder": (".", "is a folder"),
    "the checkpoint": ("a.h5", "the output is the input"),
}


@pytest.mark.parametrize("what", BAD_OUTPUTS)
def test_a_bad_output_is_refused_before_the_long_work(what, verified, command, no_work):
    name, text = BAD_OUTPUTS[what]
    folder = verified.source.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = command("record", verified.source, "-o", folder / name)
    assert done.code == 2
    assert done.stdout == ""
    assert text in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_bad_input_is_one_message_and_nothing_is_written(verified, command, no_work, tmp_path):
    empty = tmp_path / "empty.h5"
    empty.touch()
    for source, text in ((empty, "empty"), (tmp_path / "nowhere.h5", "cannot be opened"), (verified.port, "")):
        done = command("record", source, "-o", tmp_path / "reference.safetensors")
        assert done.code == 2
        assert done.stderr.startswith("error: ")
        assert text in done.stderr
    assert os.listdir(tmp_path) == ["empty.h5"]


def test_nothing_is_left_where_keras_fails(verified, command, tmp_path, monkeypatch):
    """A real process, which ends in an error of its own."""
    flat = Case("no image", (np.zeros((1, 5), np.float32),), raw=False)
    monkeypatch.setattr("weight_transfer.parity.reference.cases", lambda *_, **__: [flat])
    done = command("record", verified.source, "-o", tmp_path / "reference.safetensors")
    assert done.code == 2
    assert done.stderr.startswith("error: resnet_keras.recording failed: ")
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
