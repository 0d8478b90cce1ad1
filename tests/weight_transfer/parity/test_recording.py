"""The recording: what was written is what is read, or the message says what is wrong."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from weight_transfer import VerificationError, read_checkpoint
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.recording import (
    FACTS,
    VALUES,
    Entry,
    Origin,
    Recording,
    RecordingWriter,
    output_names,
    read_recording,
)
from weight_transfer.parity.reference import check_same
from weight_transfer.parity.sketch import COMPACT, LIVE, Detail
from weight_transfer.preprocessing import PRESETS
from weight_transfer.tensor_file import DTYPES, METADATA_KEY

GENERATOR = np.random.default_rng(0)
PICTURES = GENERATOR.integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
NOISE = GENERATOR.normal(size=(3, 5, 7, 3)).astype(np.float32)
CASES = (
    Case("photographs 5x7", (PICTURES,), raw=True),
    Case("two inputs", (NOISE, NOISE[:, 0]), raw=False),
    Case("a file", (PICTURES.ravel(),), raw=True, loading="keras", size=(5, 7)),
    Case("noise, training", (NOISE,), raw=False, check="training"),
)
CONV = GENERATOR.normal(size=(2, 5, 7, 8))
ORIGIN = Origin(
    source="resnet50.h5",
    sha256="ab" * 32,
    reference="file",
    loaded_by="keras 3.15.1 from the file",
    recorded="2026-11-24T12:00:00+00:00",
    environment={"keras": "3.15.1"},
    module="tf_keras",
    preprocessing=PRESETS["caffe"],
    channels=3,
    last_activations=("softmax", None),
    outputs=("output 1", "output 2"),
    skipped={"training": "why"},
)


def write(path: Path, detail: Detail = COMPACT, origin: Origin = ORIGIN) -> Path:
    with RecordingWriter(path, detail, path.parent) as writer:
        for case in CASES:
            writer.add_case(case)
        writer.feeds = {"conv1": (), "bn1": ("conv1",), "output 1": ("bn1", "conv1")}
        writer.tops = {"photographs 5x7": [[(1, 0.75), (0, 0.25)], [(0, 0.5), (1, 0.5)]]}
        writer.add("photographs 5x7", "inference", "conv1", CONV)
        writer.add("photographs 5x7", "inference", "bn1", CONV[..., :2] * 3)
        writer.measure_noise("photographs 5x7", "inference", "conv1", CONV.astype(np.float32))
        writer.add("two inputs", "inference", "conv1", CONV[0, 0, 0])
        writer.add("noise, training", "loss", "loss", np.array([2.5]))
        writer.add("noise, training", "gradient", "conv1/bias", np.array([1e-17, 0.0]), peak=0.5)
        writer.origin = origin
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return write(tmp_path / "reference.safetensors")


@pytest.mark.parametrize("detail", [COMPACT, LIVE])
def test_what_was_written_is_read(detail, tmp_path):
    found = read_recording(write(tmp_path / "reference.safetensors", detail))
    assert found.path == tmp_path / "reference.safetensors"
    assert found.origin == ORIGIN
    assert found.detail == detail
    assert found.feeds == {"conv1": (), "bn1": ("conv1",), "output 1": ("bn1", "conv1")}
    assert found.tops == {"photographs 5x7": [[[1, 0.75], [0, 0.25]], [[0, 0.5], [1, 0.5]]]}
    for case, written in zip(found.cases, CASES, strict=True):
        assert (case.name, case.raw, case.check, case.loading, case.size) == (
            written.name,
            written.raw,
            written.check,
            written.loading,
            written.size,
        )
        for array, wanted in zip(case.arrays, written.arrays, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("detail", [COMPACT, LIVE])
def test_every_tensor_finds_its_own_numbers(detail, tmp_path):
    found = read_recording(write(tmp_path / "reference.safetensors", detail))
    wanted = [
        ("photographs 5x7", "inference", "conv1", CONV),
        ("photographs 5x7", "inference", "bn1", CONV[..., :2] * 3),
        ("two inputs", "inference", "conv1", CONV[0, 0, 0]),
        ("noise, training", "loss", "loss", np.array([2.5])),
        ("noise, training", "gradient", "conv1/bias", np.array([1e-17, 0.0])),
    ]
    assert [(entry.case, entry.check, entry.name) for entry in found.entries] == [row[:3] for row in wanted]
    for entry, (*_, array) in zip(found.entries, wanted, strict=True):
        assert entry.shape == array.shape
        expected = found.expected(entry)
        assert expected.peak == (0.5 if entry.check == "gradient" else np.max(np.abs(array)))
        assert expected.error(array).error == 0.0
        assert expected.error(array + 1).error >= 0.999 / expected.peak


def test_entries_of_one_case_and_check(path):
    found = read_recording(path)
    assert [entry.name for entry in found.of("photographs 5x7", "inference")] == ["conv1", "bn1"]
    assert [entry.name for entry in found.of("noise, training", "gradient")] == ["conv1/bias"]
    assert found.of("noise, training", "inference") == []


def test_the_references_own_float32_error_is_noted(path):
    conv, bn, *_ = read_recording(path).entries
    own = np.max(np.abs(CONV.astype(np.float32) - CONV)) / np.max(np.abs(CONV))
    assert conv.noise is not None
    assert 0 < conv.noise <= own * 1.01
    assert bn.noise is None


def test_a_larger_tensor_costs_as_many_numbers_as_are_kept(tmp_path):
    def size_bytes(detail: Detail, side: int) -> int:
        path = tmp_path / f"{detail.samples}-{side}.safetensors"
        with RecordingWriter(path, detail) as writer:
            writer.add_case(CASES[0])
            writer.add("photographs 5x7", "inference", "conv1", np.ones((1, side, side, 64)))
            writer.origin = ORIGIN
        return path.stat().st_size

    assert size_bytes(COMPACT, 56) - size_bytes(COMPACT, 14) < 16
    assert size_bytes(LIVE, 56) - size_bytes(LIVE, 14) > 8 * 64 * (56**2 - 14**2) - 16


def test_any_reader_of_safetensors_reads_it(path):
    arrays = load_file(path)
    assert set(arrays) == {VALUES, FACTS, *(f"input/{c.name}/{n}" for c in CASES for n in range(len(c.arrays)))}
    np.testing.assert_array_equal(arrays[VALUES][96:], np.concatenate([_kept(path, 1), _kept(path, 2), *_rest(path)]))


def _kept(path: Path, number: int) -> np.ndarray:
    found = read_recording(path)
    return found.expected(found.entries[number]).kept


def _rest(path: Path) -> list[np.ndarray]:
    return [_kept(path, number) for number in (3, 4)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_every_dtype(dtype, tmp_path):
    path = tmp_path / "reference.safetensors"
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    with RecordingWriter(path, COMPACT) as writer:
        writer.add_case(Case("inputs", (array,), raw=False))
        writer.origin = ORIGIN
    ((found,),) = (case.arrays for case in read_recording(path).cases)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_nothing_is_written_where_the_block_fails(tmp_path):
    path = tmp_path / "reference.safetensors"
    path.write_bytes(b"earlier")

    def fail() -> None:
        with RecordingWriter(path, COMPACT, tmp_path) as writer:
            writer.add_case(CASES[0])
            writer.add("photographs 5x7", "inference", "conv1", CONV)
            writer.origin = ORIGIN
            raise LookupError("in the middle")

    with pytest.raises(LookupError, match="in the middle"):
        fail()
    assert path.read_bytes() == b"earlier"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "reference.safetensors"
    with RecordingWriter(path, COMPACT, tmp_path) as writer:
        writer.add_case(CASES[0])
        writer.origin = ORIGIN
        assert list(tmp_path.iterdir()) == []
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_tensor_is_recorded_once(tmp_path):
    with RecordingWriter(tmp_path / "reference.safetensors", COMPACT) as writer:
        writer.origin = ORIGIN
        writer.add("photographs 5x7", "inference", "conv1", CONV)
        with pytest.raises(ValueError, match="photographs 5x7: inference conv1 was recorded before"):
            writer.add("photographs 5x7", "inference", "conv1", CONV)


def damaged(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Writes the recording again, as earlier versions wrote it, with other metadata."""
    with safe_open(path, framework="np") as file:
        information = json.loads(file.metadata()[METADATA_KEY])
    arrays = load_file(path)
    information |= json.loads(zlib.decompress(arrays.pop(FACTS).tobytes()))
    changed = change(information)
    save_file(arrays, path, {METADATA_KEY: json.dumps(information if changed is None else changed)})
    return path


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(information: dict[str, Any]) -> None:
        for key in keys:
            del information[key]

    return change


def setting(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda information: information.__setitem__(key, value)


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no format": without("format"),
    "no entries": without("entries"),
    "no origin": without("origin"),
    "an origin without its hash": lambda information: information["origin"].__delitem__("sha256"),
    "an unknown detail": setting("detail", "everything"),
    "an input that is not there": lambda information: information["cases"][0].__setitem__("inputs", 2),
    "an entry too few": lambda information: information.__setitem__("entries", information["entries"][1:]),
    "an entry of another size": lambda information: information["entries"][0].__setitem__(3, [2, 2]),
    "an entry that is no list": setting("entries", [7]),
    "feeds that are a list": setting("feeds", ["conv1"]),
    "a list": lambda information: [information],
    "a number": lambda information: 7,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_metadata_is_refused(what, path):
    with pytest.raises(VerificationError, match=r"reference.safetensors: its metadata is damaged \(.*Record it again"):
        read_recording(damaged(path, DAMAGE[what]))


@pytest.mark.parametrize("what", ["other bytes", "half of it", "no object"])
def test_damaged_facts_are_refused(what, path):
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    arrays[FACTS] = {
        "other bytes": arrays[FACTS][::-1].copy(),
        "half of it": arrays[FACTS][: arrays[FACTS].size // 2].copy(),
        "no object": np.frombuffer(zlib.compress(b"[7]"), np.uint8),
    }[what]
    save_file(arrays, path, metadata)
    with pytest.raises(VerificationError, match=r"reference.safetensors: its metadata is damaged \(.*Record it again"):
        read_recording(path)


def test_a_recording_of_an_earlier_version_is_read(path):
    found, old = read_recording(path), read_recording(damaged(path, lambda information: None))
    assert old.entries == found.entries
    assert old.origin == found.origin


def test_metadata_that_is_no_json_is_refused(path):
    save_file(load_file(path), path, {METADATA_KEY: "{"})
    with pytest.raises(VerificationError, match="its metadata is damaged"):
        read_recording(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(share, path):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(VerificationError, match="not a readable safetensors file"):
        read_recording(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(VerificationError, match=r"nowhere.safetensors: not a readable safetensors file .*No such file"):
        read_recording(tmp_path / "nowhere.safetensors")


def test_another_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "port.safetensors"
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(VerificationError, match=r"holds no recording. Expected a file that `weight-transfer record`"):
        read_recording(path)


def test_a_keras_file_is_refused(tmp_path):
    path = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    with pytest.raises(VerificationError, match="not a readable safetensors file"):
        read_recording(path)


def test_a_newer_format_is_refused(path):
    with pytest.raises(VerificationError, match=r"its format is '2', expected 1. Record it again"):
        read_recording(damaged(path, setting("format", 2)))


def test_only_a_recording_of_the_same_checkpoint_will_do(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    with read_checkpoint(source) as checkpoint:
        same = write_of(tmp_path, checkpoint.sha256)
        check_same(same, checkpoint)
        other = write_of(tmp_path, "cd" * 32)
        with pytest.raises(
            VerificationError,
            match=rf"a recording of another checkpoint. Expected one of model.h5, sha256 {checkpoint.sha256}. "
            rf"Received one of resnet50.h5, sha256 {'cd' * 32}. Record this checkpoint: weight-transfer record",
        ):
            check_same(other, checkpoint)


def write_of(folder: Path, sha256: str) -> Recording:
    origin = Origin(**{**ORIGIN.__dict__, "sha256": sha256})
    return read_recording(write(folder / "reference.safetensors", origin=origin))


def test_the_key_of_a_tensor_is_the_same_for_all_inputs():
    one = Entry("photographs", "inference", "conv1", (2, 3), 1.0)
    other = Entry("noise", "inference", "conv1", (4, 3), 1.0)
    assert one.key == other.key == "inference/conv1"
    assert Entry("noise", "training", "conv1", (4, 3), 1.0).key != one.key


def test_names_of_what_a_model_returns():
    assert output_names(1) == ("output",)
    assert output_names(2) == ("output 1", "output 2")
    assert output_names(1, {"conv1", "output"}) == ("model output",)
    assert output_names(2, ["output 2"]) == ("model output 1", "model output 2")


def test_infinite_numbers_are_kept(tmp_path):
    path = tmp_path / "reference.safetensors"
    with RecordingWriter(path, COMPACT) as writer:
        writer.add_case(CASES[0])
        writer.add("photographs 5x7", "inference", "conv1", np.array([1.0, np.inf]))
        writer.origin = ORIGIN
    found = read_recording(path)
    assert found.entries[0].peak == math.inf
    assert found.expected(found.entries[0]).error(np.array([1.0, np.inf])).error == math.inf  # nothing equals it
