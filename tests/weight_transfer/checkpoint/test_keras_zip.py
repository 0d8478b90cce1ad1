"""The .keras archive: what stands around the weights."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile

import numpy as np
import pytest
from handmade_h5 import some, write_keras3

from weight_transfer.checkpoint import limits, read_checkpoint
from weight_transfer.errors import CheckpointError

CONFIG = {
    "class_name": "Functional",
    "config": {
        "name": "model",
        "layers": [
            {"class_name": "Conv2D", "name": "stem", "config": {"name": "stem"}},
            {"class_name": "Sequential", "config": {"name": "head", "layers": [{"class_name": "Dense", "name": "fc"}]}},
        ],
    },
}


def weights(more=()):
    groups = {
        "layers/conv2d": (None, [some(1, 1, 2, 3), some(3)]),
        "layers/sequential/layers/dense": (None, [some(2, 2)]),
    }
    buffer = io.BytesIO()
    write_keras3(buffer, groups | dict(more))
    return buffer.getvalue()


def write_archive(path, compression=zipfile.ZIP_STORED, **changed):
    members = {
        "metadata.json": json.dumps({"keras_version": "3.15.1"}),
        "config.json": json.dumps(CONFIG),
        "model.weights.h5": weights(),
    }
    members |= changed
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_names_come_from_the_config(tmp_path, compression):
    with read_checkpoint(write_archive(tmp_path / "a.keras", compression)) as checkpoint:
        assert list(checkpoint.arrays) == ["stem/kernel", "stem/bias", "head/fc/kernel"]
        np.testing.assert_array_equal(checkpoint["stem/kernel"], some(1, 1, 2, 3))
        assert checkpoint.config == CONFIG
        assert checkpoint.keras_version == "3.15.1"
        assert not checkpoint.names_are_counters


def test_names_in_the_weights_win_over_the_config(tmp_path):
    content = weights(more={"layers/conv2d": ("own", [some(2)])})
    with read_checkpoint(write_archive(tmp_path / "a.keras", **{"model.weights.h5": content})) as checkpoint:
        assert "own/kernel" in checkpoint.arrays


def test_without_metadata_the_version_is_unknown(tmp_path):
    with read_checkpoint(write_archive(tmp_path / "a.keras", **{"metadata.json": None})) as checkpoint:
        assert checkpoint.keras_version is None
    with read_checkpoint(write_archive(tmp_path / "a.keras", **{"metadata.json": "[3]"})) as checkpoint:
        assert checkpoint.keras_version is None


def test_members_with_backslashes(tmp_path):
    path = write_archive(tmp_path / "a.keras", **{"assets\\layers\\x": b"?"})
    with read_checkpoint(path) as checkpoint:
        assert len(checkpoint.arrays) == 3


def test_a_group_that_the_config_lacks(tmp_path):
    content = weights(more={"layers/conv2d_1": (None, [some(2)])})
    with pytest.raises(CheckpointError, match="group 'layers/conv2d_1' is no layer of the model's config"):
        read_checkpoint(write_archive(tmp_path / "a.keras", **{"model.weights.h5": content}))


def test_a_config_without_layers_leaves_counters(tmp_path):
    config = json.dumps({"class_name": "ResNetBackbone", "config": {"depth": 50}})
    with read_checkpoint(write_archive(tmp_path / "a.keras", **{"config.json": config})) as checkpoint:
        assert list(checkpoint.arrays) == ["conv2d/kernel", "conv2d/bias", "sequential/dense/kernel"]
        assert checkpoint.names_are_counters


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config.json": None}, "a zip archive without config.json, so no .keras file"),
        ({"model.weights.h5": None}, "a zip archive without model.weights.h5"),
        ({"config.json": None, "model.weights.h5": None, "archive/data.pkl": b""}, "a PyTorch file"),
        ({"config.json": "[]"}, "config.json holds no model"),
        ({"config.json": "{"}, "config.json': its JSON cannot be used"),
        ({"../evil": b""}, "member '../evil' points outside the archive"),
        ({"..\\evil": b""}, "member '../evil' points outside the archive"),
        ({"/etc/evil": b""}, "member '/etc/evil' points outside the archive"),
        ({"C:\\evil\x1b": b""}, r"member 'C:/evil\\x1b' points outside the archive"),
        ({"model.weights.h5": b"nothing"}, "model.weights.h5': the HDF5 library failed"),
        ({f"assets/{i}": b"" for i in range(70)}, "73 members; 64 are accepted"),
    ],
)
def test_bad_archives(tmp_path, changed, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(write_archive(tmp_path / "a.keras", **changed))


def test_an_empty_archive(tmp_path):
    zipfile.ZipFile(tmp_path / "a.keras", "w").close()
    with pytest.raises(CheckpointError, match=r"a zip archive without config.json and model.weights.h5"):
        read_checkpoint(tmp_path / "a.keras")


@pytest.mark.parametrize("second", ["config.json", "model.weights.h5"])
def test_two_members_of_one_name(tmp_path, second):
    path = write_archive(tmp_path / "a.keras")
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(second, "{}")
    with pytest.raises(CheckpointError, match=f"two members are both named '{second}'"):
        read_checkpoint(path)


def test_a_flipped_bit(tmp_path):
    path = write_archive(tmp_path / "a.keras")
    content = bytearray(path.read_bytes())
    content[content.index(some(1, 1, 2, 3).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the zip reader failed .BadZipFile: .*Bad CRC-32"):
        read_checkpoint(path)


def test_a_cut_archive(tmp_path):
    path = write_archive(tmp_path / "a.keras")
    content = path.read_bytes()
    for size in range(4, len(content), len(content) // 20):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="the zip reader failed"):
            read_checkpoint(path)


def test_an_encrypted_member(tmp_path):
    path = write_archive(tmp_path / "a.keras")
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = content.index(b"config.json") if signature == b"PK\x03\x04" else content.rindex(b"config.json")
        content[content.rindex(signature, 0, position) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the zip reader failed .RuntimeError: .*encrypted"):
        read_checkpoint(path)


def test_another_compression(tmp_path):
    with pytest.raises(CheckpointError, match=r"member 'config.json' is neither stored nor deflated"):
        read_checkpoint(write_archive(tmp_path / "a.keras", zipfile.ZIP_BZIP2))


def test_a_bomb(tmp_path):
    bomb = {"model.weights.h5": b"\0" * (limits.EXPANSION_FREE_BYTES + 1)}
    with pytest.raises(CheckpointError, match=r"member 'model.weights.h5' unpacks from .* to 16777217 bytes"):
        read_checkpoint(write_archive(tmp_path / "a.keras", zipfile.ZIP_DEFLATED, **bomb))


def test_members_that_overlap(tmp_path):
    path = write_archive(tmp_path / "a.keras")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of model.weights.h5: let it begin where config.json does
    offset = content.index(b"PK\x03\x04", 4)
    content[entry + 42 : entry + 46] = struct.pack("<I", offset)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="overlaps another"):
        read_checkpoint(path)
