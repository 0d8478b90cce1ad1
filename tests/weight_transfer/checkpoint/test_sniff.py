"""Files that are called checkpoints and are something else."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest
from handmade_h5 import some, write_legacy

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.errors import CheckpointError


def safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


FOREIGN = {
    "empty": (b"", "the file is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer.*git lfs pull"),
    "html": (b"\n <!DOCTYPE html><html></html>", "a saved web page.*Download"),
    "html without doctype": (b"<HTML><body>404</body></HTML>", "a saved web page"),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>ExpiredToken</Code></Error>", "an XML document"),
    "bare xml": (b"<Error><Code>AccessDenied</Code></Error>", "an XML document"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "compressed with gzip.*gunzip"),
    "pickle": (pickle.dumps({"a": 1}), "a Python pickle"),
    "old pickle": (pickle.dumps({"a": 1}, protocol=2), "a Python pickle"),
    "numpy": (b"\x93NUMPY\x01\0", "a NumPy array"),
    "safetensors": (safetensors(), "a safetensors file"),
    "zeros": (b"\0" * 2000, r"not a checkpoint: the file starts with .*x00"),
    "escape": (b"\x1b[2J\x1b]0;owned\x07", r"not a checkpoint: the file starts with .*x1b"),
    "short": (b"h", "not a checkpoint: the file starts with"),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_foreign_files(tmp_path, content, message, ending):
    path = tmp_path / f"model{ending}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).isprintable()


def test_an_hdf5_file_behind_foreign_bytes(tmp_path):
    good = write_legacy(tmp_path / "a.h5", {"conv": {"conv/bias:0": some(2)}}).read_bytes()
    (tmp_path / "b.h5").write_bytes(b"MATLAB 7.3".ljust(512, b" ") + good)
    with pytest.raises(CheckpointError, match="an HDF5 file with 512 foreign bytes before it"):
        read_checkpoint(tmp_path / "b.h5")


@pytest.mark.parametrize("name", ["model.keras", "model.json", "model", "model.ckpt"])
def test_the_name_means_nothing(tmp_path, name):
    path = write_legacy(tmp_path / name, {"conv": {"conv/bias:0": some(2)}})
    with read_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint["conv/bias"], some(2))
