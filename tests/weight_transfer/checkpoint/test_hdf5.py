"""HDF5 that points elsewhere, asks for too much, or is damaged."""

from __future__ import annotations

import os
import pickle

import h5py
import numpy as np
import pytest
from handmade_h5 import some, write_legacy

from weight_transfer.checkpoint import limits, read_checkpoint
from weight_transfer.checkpoint.parsing import parse
from weight_transfer.checkpoint.source import open_source
from weight_transfer.errors import CheckpointError

NAME = "conv/conv/kernel:0"


@pytest.fixture
def good(tmp_path):
    return write_legacy(tmp_path / "a.h5", {"conv": {"conv/kernel:0": some(3, 4)}})


def replaced(path, make, name=NAME):
    """Writes something else in the array's place."""
    with h5py.File(path, "a") as file:
        del file[name]
        make(file)
    return path


def refused(path, message):
    with pytest.raises(CheckpointError, match=message) as caught, read_checkpoint(path) as checkpoint:
        checkpoint["conv/kernel"]
    assert str(caught.value).isprintable()


def test_the_index_can_cross_a_process_boundary(good):
    source = open_source(good)
    index = parse([source])
    assert pickle.loads(pickle.dumps(index)) == index
    stored = index.arrays["conv/kernel"]
    assert good.read_bytes()[stored.offset :][: stored.size_bytes] == some(3, 4).tobytes()
    source.close()


STORED = {
    "big-endian": {"data": some(3, 4).astype(">f4")},
    "half": {"data": some(3, 4).astype("f2")},
    "double": {"data": some(3, 4).astype("f8")},
    "integers": {"data": some(3, 4).astype("i8")},
    "chunks": {"data": some(3, 4), "chunks": (2, 3)},
    "deflate": {"data": some(3, 4), "chunks": (3, 4), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "big-endian chunks": {"data": some(3, 4).astype(">f4"), "chunks": (2, 3)},
    "scalar": {"data": np.float32(7)},
}


@pytest.mark.parametrize("how", STORED.values(), ids=STORED)
def test_numbers_however_they_are_stored(good, how):
    path = replaced(good, lambda file: file.create_dataset(NAME, **how))
    with read_checkpoint(path) as checkpoint:
        values = checkpoint["conv/kernel"]
        assert values.dtype == checkpoint.arrays["conv/kernel"].dtype
        assert values.dtype.isnative
        np.testing.assert_array_equal(values, how["data"])


def test_a_compact_array(good):
    def make(file):
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3, 4))
        identity = h5py.h5d.create(file["conv/conv"].id, b"kernel:0", h5py.h5t.IEEE_F32LE, space, creation)
        h5py.Dataset(identity)[...] = some(3, 4)

    with read_checkpoint(replaced(good, make)) as checkpoint:
        np.testing.assert_array_equal(checkpoint["conv/kernel"], some(3, 4))


def put(name, value):
    return lambda file: file.__setitem__(name, value)


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/conv"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("other.h5", "/x")]
)
@pytest.mark.parametrize("name", [NAME, "conv/conv", "conv"])
def test_links_to_elsewhere(good, link, name):
    refused(replaced(good, put(name, link), name), "a link to elsewhere. Expected the array or the group itself")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_link_to_a_pipe_does_not_hang(good, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(replaced(good, put(NAME, h5py.ExternalLink(str(tmp_path / "pipe"), "/x"))), "a link to elsewhere")


def test_a_link_in_place_of_the_weights(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(tmp_path / "a.h5", "'/model_weights': a link to elsewhere")


def test_numbers_in_another_file(good, tmp_path):
    (tmp_path / "secret").write_bytes(b"s" * 48)
    external = [(str(tmp_path / "secret"), 0, 48)]
    refused(
        replaced(good, lambda file: file.create_dataset(NAME, (3, 4), "f4", external=external)),
        "its numbers are stored elsewhere. Expected them in this file",
    )


def test_a_virtual_array_of_itself(good):
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[...] = h5py.VirtualSource(".", NAME, (3, 4))
    refused(replaced(good, lambda file: file.create_virtual_dataset(NAME, layout)), "its numbers are stored elsewhere")


def test_one_object_under_two_names(good):
    with h5py.File(good, "a") as file:
        file["conv"].attrs["weight_names"] = [b"conv/kernel:0", b"conv/bias:0"]
        file["conv/conv/bias:0"] = file[NAME]
    refused(good, "'/conv/conv/bias:0': the same object as '/conv/conv/kernel:0'")


def test_a_circle_of_groups(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layers = file.create_group("layers")
        layers["again"] = layers
    refused(tmp_path / "a.h5", "'/layers/again': the same object as '/layers'")


def test_a_committed_type(good):
    refused(replaced(good, put(NAME, np.dtype("f4"))), "neither a group nor an array")


@pytest.mark.parametrize(
    "name", ["../conv/kernel:0", "./kernel:0", "conv//kernel:0", "/conv/conv/kernel:0", "a" * 1025]
)
def test_a_name_that_walks(good, name):
    with h5py.File(good, "a") as file:
        file["conv"].attrs["weight_names"] = [name.encode()]
    refused(good, "not a name that Keras gives")


def test_a_name_with_a_nul(good):
    with h5py.File(good, "a") as file:
        file["conv"].attrs["weight_names"] = np.array([b"conv/ker\0nel:0"])
    refused(good, "not a name that Keras gives")


@pytest.mark.parametrize(
    "data",
    [
        np.array([b"text"]),
        np.array([True, False]),
        np.array([1j, 2]),
        np.array([(1.0, 2)], dtype=[("a", "f4"), ("b", "i4")]),
        np.array([b"\0\0\0"], dtype="V3"),
    ],
    ids=["text", "bool", "complex", "compound", "opaque"],
)
def test_what_is_no_number(good, data):
    refused(replaced(good, put(NAME, data)), "its elements are not numbers.*in float32")


def test_numbers_of_an_uncommon_layout(good):
    def make(file):
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_ebias(100)
        space = h5py.h5s.create_simple((3, 4))
        h5py.h5d.create(file["conv/conv"].id, b"kernel:0", kind, space)

    refused(replaced(good, make), "its numbers have an uncommon layout|the HDF5 library failed")


def test_no_shape(good):
    refused(replaced(good, put(NAME, h5py.Empty("f4"))), "its shape is None. Expected at most 8 axes")


def test_too_many_axes(good):
    refused(replaced(good, put(NAME, np.ones((1,) * 9, "f4"))), "Expected at most 8 axes")


def test_a_shape_without_numbers(good):
    refused(
        replaced(good, lambda file: file.create_dataset(NAME, (3, 4), "f4")),
        r"shape \(3, 4\) takes 48 bytes, but 0 are stored. The file is damaged",
    )


@pytest.mark.parametrize("chunks", [None, (1000, 1000)])
def test_a_shape_bomb(good, chunks):
    refused(
        replaced(good, lambda file: file.create_dataset(NAME, (100_000, 100_000), "f4", chunks=chunks)),
        "asks for 40000000000 bytes; 2147483648 are accepted",
    )


def test_many_large_arrays(good, monkeypatch):
    monkeypatch.setattr(limits, "TOTAL_BYTES", 47)
    refused(good, "its arrays take 48 bytes; 47 are accepted")


def test_a_missing_chunk(good):
    def make(file):
        file.create_dataset(NAME, (3, 4), "f4", chunks=(1, 4))[0] = 1

    refused(replaced(good, make), "1 of 3 pieces are stored")


def test_too_many_chunks(good, monkeypatch):
    monkeypatch.setattr(limits, "HDF5_CHUNKS", 2)
    path = replaced(good, lambda file: file.create_dataset(NAME, data=some(3, 4), chunks=(1, 4)))
    refused(path, "more than 2 pieces")


def test_a_huge_chunk(good):
    path = replaced(good, lambda file: file.create_dataset(NAME, (5000, 5000), "f4", chunks=(5000, 5000)))
    refused(path, "its pieces have 100000000 bytes; 67108864 are accepted")


def test_a_compression_bomb(good):
    def make(file):
        file.create_dataset(NAME, data=np.zeros((2200, 2200), "f4"), chunks=(2200, 2200), compression="gzip")

    refused(replaced(good, make), "stored bytes unpack to 19360000")


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"scaleoffset": 3}])
def test_other_filters(good, options):
    path = replaced(good, lambda file: file.create_dataset(NAME, data=some(3, 4), chunks=(3, 4), **options))
    refused(path, "Expected deflate, shuffle or fletcher32, once")


def test_a_damaged_chunk(good):
    make = lambda file: file.create_dataset(NAME, data=some(3, 4), chunks=(3, 4), fletcher32=True)  # noqa: E731
    content = bytearray(replaced(good, make).read_bytes())
    content[content.rindex(some(3, 4).tobytes())] ^= 1
    good.write_bytes(content)
    refused(good, "the HDF5 library failed .*The file is damaged or cut short")


def test_groups_too_deep(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("layers" + "/a" * 40)
    refused(tmp_path / "a.h5", "groups are nested more than 32 deep")


def test_too_many_objects(good, monkeypatch):
    monkeypatch.setattr(limits, "HDF5_OBJECTS", 3)
    refused(good, "the file holds more than 3 objects")


@pytest.mark.parametrize("value", [7, np.ones((2, 2)), np.array([[b"a"]])])
def test_an_attribute_that_is_no_list_of_texts(good, value):
    with h5py.File(good, "a") as file:
        file.attrs["layer_names"] = value
    refused(good, "'/@layer_names': not a text, nor a list of texts")


def test_a_huge_attribute(good, monkeypatch):
    monkeypatch.setattr(limits, "HDF5_ATTRIBUTE_BYTES", 3)
    refused(good, "'/@layer_names': more than 3 bytes")


def test_names_that_are_not_utf_8(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"\xff"]
        file.create_group(b"\xff").attrs["weight_names"] = [b"kernel"]
        file[b"\xff/kernel"] = some(2)
    refused(tmp_path / "a.h5", "holds characters that cannot be printed")


def test_a_file_cut_anywhere(good):
    content = good.read_bytes()
    for size in range(8, len(content), len(content) // 40):
        good.write_bytes(content[:size])
        refused(good, "the HDF5 library failed .*The file is damaged or cut short")
