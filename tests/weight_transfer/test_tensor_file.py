"""A file of tensors: its bytes are the library's, it is read back as it was, and what is wrong with one is said."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from weight_transfer import CheckpointError, TransferError
from weight_transfer.fingerprint import Fingerprint, fingerprint_of
from weight_transfer.tensor_file import (
    DTYPES,
    KINDS_OF_0_1_0,
    METADATA_KEY,
    Content,
    Kind,
    Tensor,
    open_tensor_file,
)

NOTES = Kind("notes", 3, "what this test wrote", "Write it again.", CheckpointError)
MIXED = {
    f"{name} {dtype}": np.arange(size).reshape(shape).astype(dtype)
    for dtype in DTYPES
    for name, size, shape in (("b", 6, (2, 3)), ("a", 1, ()), ("empty", 0, (0, 4)), ("odd", 3, (3,)))
}


def written(path, arrays=None, facts=None, kind=NOTES):
    tensors = [Tensor.of(name, array) for name, array in (MIXED if arrays is None else arrays).items()]
    Content(kind, {"said": [1, None, "ü"]} if facts is None else facts, tuple(tensors)).write(path)
    return path


def with_metadata(path, metadata):
    save_file({"x": np.ones(2, np.float32)}, path, metadata)
    return path


def taken_apart(content):
    """The header's entries and the data."""
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.mark.parametrize("dtype", [None, *DTYPES])
def test_bytes_are_the_librarys(dtype, tmp_path):
    arrays = MIXED if dtype is None else {name: array for name, array in MIXED.items() if array.dtype == dtype}
    path = written(tmp_path / "x.safetensors", dict(reversed(arrays.items())))
    with safe_open(path, framework="np") as file:
        theirs, our = taken_apart(save(arrays, file.metadata())), taken_apart(path.read_bytes())
    assert our == theirs
    assert list(our[0]) == list(theirs[0])  # in its order, too


def test_what_was_written_is_read(tmp_path):
    file = open_tensor_file(written(tmp_path / "x.safetensors"), NOTES)
    assert file.facts == {"said": [1, None, "ü"]}
    assert file.tensors.keys() == MIXED.keys()
    for name, array in MIXED.items():
        found = file.tensors[name].read()
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert (file.tensors[name].dtype, file.tensors[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)
        start, count = array.size // 2, array.size // 3
        np.testing.assert_array_equal(file.elements(name, start, count), array.ravel()[start : start + count])


def test_the_hash_is_of_the_file_and_found_once(tmp_path):
    path = written(tmp_path / "x.safetensors")
    file = open_tensor_file(path, NOTES)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    assert len(file.sha256) == 64


def test_an_array_of_the_other_byte_order_is_written_in_the_files(tmp_path):
    array = np.arange(4, dtype=">f4")
    path = written(tmp_path / "x.safetensors", {"a": array, "b": array[::-1]})
    np.testing.assert_array_equal(load_file(path)["a"], [0, 1, 2, 3])
    np.testing.assert_array_equal(load_file(path)["b"], [3, 2, 1, 0])


def test_pieces_are_written_one_behind_the_other(tmp_path):
    def pieces():
        yield np.arange(3.0)
        yield np.arange(3.0, 5.0)

    tensor = Tensor("a", np.dtype(float), (5,), read=lambda: pytest.fail("read as a whole"), pieces=pieces)
    Content(NOTES, {}, (tensor,)).write(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "x.safetensors")["a"], np.arange(5.0))


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    count = 1 << 18
    tensors = [Tensor(f"{n}", np.dtype("float32"), (count,), lambda: np.ones(count, np.float32)) for n in range(20)]
    tracemalloc.start()
    try:
        Content(NOTES, {}, tuple(tensors)).write(tmp_path / "x.safetensors")
        file = open_tensor_file(tmp_path / "x.safetensors", NOTES)
        assert fingerprint_of((name, tensor.read()) for name, tensor in file.tensors.items())
        assert len(file.sha256) == 64
        assert tracemalloc.get_traced_memory()[1] < 3 * 4 * count
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", [np.arange(4.0), np.arange(6.0)])
def test_a_tensor_that_is_not_as_announced_leaves_no_file(read, tmp_path):
    tensor = Tensor("a", np.dtype(float), (5,), lambda: read)
    with pytest.raises(TransferError, match=rf"a: expected 40 bytes, read {read.nbytes}. Its file changed"):
        Content(NOTES, {}, (tensor,)).write(tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_numbers_of_another_type_are_not_cast(tmp_path):
    tensor = Tensor("a", np.dtype("float32"), (2,), lambda: np.arange(2.0))
    with pytest.raises(TypeError, match="Cannot cast"):
        Content(NOTES, {}, (tensor,)).write(tmp_path / "x.safetensors")


DAMAGE = {
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not a readable safetensors file"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "not a readable safetensors file"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable safetensors file"),
    "missing": (lambda path: path.unlink(), "not a readable safetensors file .*No such file"),
    "without metadata": (lambda path: with_metadata(path, None), "holds no notes. Expected what this test wrote"),
    "other metadata": (lambda path: with_metadata(path, {"format": "pt"}), "holds no notes. Expected"),
    "another kind": (
        lambda path: written(path, kind=Kind("song", 3, "", "", TransferError)),
        r"holds no notes \(its kind is 'song'\). Expected what this test wrote",
    ),
    "another format": (
        lambda path: written(path, kind=Kind("notes", 4, "", "", TransferError)),
        "its format is '4', expected 3. Write it again",
    ),
    "a format that is text": (
        lambda path: with_metadata(path, {METADATA_KEY: '{"kind": "notes", "format": "3"}'}),
        "its format is '3', expected 3",
    ),
    **{
        f"metadata {text[:9]}": (
            lambda path, text=text: with_metadata(path, {METADATA_KEY: text}),
            r"its metadata is damaged \(.*\). Write it again",
        )
        for text in ("{", "7", "[]", "null", '["kind"]', '{"kind": "notes"}', "[" * 100_000)
    },
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_wrong_with_a_file_is_said(what, tmp_path):
    path = written(tmp_path / "x.safetensors")
    damage, message = DAMAGE[what]
    damage(path)
    with pytest.raises(CheckpointError, match=rf"x\.safetensors: {message}"):
        open_tensor_file(path, NOTES)


def test_a_dtype_that_numpy_has_not_is_refused(tmp_path):
    path = written(tmp_path / "x.safetensors", {"a": np.ones(2, np.float16)})
    entries, data = taken_apart(path.read_bytes())
    header = json.dumps(entries).replace('"F16"', '"BF16"').encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    with pytest.raises(CheckpointError, match=r"'a' is of type BF16. Expected one of BOOL, U8, .*F64"):
        open_tensor_file(path, NOTES)


HOSTILE = "\x1b[31m" * 100


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: written(path, kind=Kind(HOSTILE, 3, "", "", TransferError)),
        lambda path: with_metadata(path, {METADATA_KEY: json.dumps({"kind": "notes", "format": HOSTILE})}),
        lambda path: written(path, {HOSTILE: np.ones(2, np.float16)}, {"refuse": HOSTILE}),
    ],
)
def test_nothing_of_a_file_reaches_a_terminal_as_it_is(damage, tmp_path):
    def parse(facts):
        raise TypeError(f"got an unexpected keyword argument '{facts['refuse']}'")

    path = damage(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_tensor_file(path, NOTES).parsed(parse)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000 + len(str(path))


def test_a_file_that_changes_after_it_was_opened(tmp_path):
    path = written(tmp_path / "x.safetensors", {"a": np.ones(20)})
    file = open_tensor_file(path, NOTES)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"cut short after it was opened. Write it again"):
        file.tensors["a"].read()
    path.unlink()
    with pytest.raises(CheckpointError, match=r"it can no longer be read \(No such file or directory\)"):
        file.tensors["a"].read()


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, AttributeError, RecursionError])
def test_what_does_not_parse_is_damaged(error, tmp_path):
    file = open_tensor_file(written(tmp_path / "x.safetensors"), NOTES)

    def parse(facts):
        raise error("said")

    with pytest.raises(CheckpointError, match=r"x\.safetensors: its metadata is damaged \(.*said.*\). Write it again"):
        file.parsed(parse)
    assert file.parsed(lambda facts: facts["said"][0]) == 1


@pytest.mark.parametrize("key", KINDS_OF_0_1_0)
def test_version_0_1_0_gave_each_kind_a_key_of_its_own(key, tmp_path):
    kind = Kind(KINDS_OF_0_1_0[key], 1, "", "", CheckpointError)
    path = with_metadata(tmp_path / "x.safetensors", {key: '{"said": 1}', "format": "pt"})
    assert open_tensor_file(path, kind).facts == {"said": 1}
    with pytest.raises(CheckpointError, match=f"holds no notes .its kind is '{kind.name}'"):
        open_tensor_file(path, NOTES)
    with_metadata(path, {key: '{"said": 1, "format": 2}'})
    with pytest.raises(CheckpointError, match="its format is '2', expected 1"):
        open_tensor_file(path, kind)


def test_the_fingerprint_while_writing_is_that_of_what_is_read(tmp_path):
    fingerprint = Fingerprint()
    tensors = tuple(fingerprint.counting(Tensor.of(name, array)) for name, array in MIXED.items())
    Content(NOTES, {}, tensors).write(tmp_path / "x.safetensors")
    read = open_tensor_file(tmp_path / "x.safetensors", NOTES).tensors
    assert fingerprint.value == fingerprint_of((name, tensor.read()) for name, tensor in read.items())
