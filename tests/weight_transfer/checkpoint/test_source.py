"""What is at the path."""

from __future__ import annotations

import gc
import os

import pytest
from handmade_h5 import some, write_legacy

from weight_transfer.checkpoint import limits, read_checkpoint
from weight_transfer.errors import CheckpointError


@pytest.fixture
def good(tmp_path):
    return write_legacy(tmp_path / "good.h5", {"conv": {"conv/kernel:0": some(30, 40)}})


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.h5': it cannot be opened \(No such file or directory\)"):
        read_checkpoint(tmp_path / "a.h5")


def test_a_path_that_a_terminal_would_obey(tmp_path):
    with pytest.raises(CheckpointError, match=r"\\x1b\[2J"):
        read_checkpoint(tmp_path / "\x1b[2J")


def test_no_path_at_all():
    with pytest.raises(CheckpointError, match=r"it cannot be opened .embedded null byte"):
        read_checkpoint("a\0b")


def test_a_folder(tmp_path):
    with pytest.raises(CheckpointError, match="a folder, not a checkpoint file"):
        read_checkpoint(tmp_path)


def test_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(CheckpointError, match=r"a TensorFlow SavedModel folder.*model.save"):
        read_checkpoint(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(CheckpointError, match="a pipe, a socket or a device"):
        read_checkpoint(tmp_path / "pipe.h5")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_a_device_does_not_hang(tmp_path):
    (tmp_path / "a.h5").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="a pipe, a socket or a device"):
        read_checkpoint(tmp_path / "a.h5")


def test_a_circle_of_links(tmp_path):
    (tmp_path / "a.h5").symlink_to(tmp_path / "b.h5")
    (tmp_path / "b.h5").symlink_to(tmp_path / "a.h5")
    with pytest.raises(CheckpointError, match="it cannot be opened"):
        read_checkpoint(tmp_path / "a.h5")


def test_no_permission(good, monkeypatch):
    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CheckpointError, match=r"it cannot be opened \(Permission denied\). Check the path"):
        read_checkpoint(good)


def test_a_file_beyond_any_resnet(good, monkeypatch):
    monkeypatch.setattr(limits, "FILE_BYTES", 1000)
    with pytest.raises(CheckpointError, match="bytes is more than the 1000 that are accepted"):
        read_checkpoint(good)


def test_a_file_cut_while_it_is_open(good):
    with read_checkpoint(good) as checkpoint:
        os.truncate(good, 3000)
        with pytest.raises(CheckpointError, match="bytes are missing at offset"):
            checkpoint["conv/kernel"]


def test_a_file_replaced_while_it_is_open_stays_the_same(good, tmp_path):
    with read_checkpoint(good) as checkpoint:
        os.replace(write_legacy(tmp_path / "other.h5", {"conv": {"conv/kernel:0": some(30, 40) * 9}}), good)
        assert checkpoint["conv/kernel"].tobytes() == some(30, 40).tobytes()


def test_a_checkpoint_that_is_dropped_closes_its_file(good):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    gc.collect()  # of what other tests dropped
    before = len(os.listdir("/proc/self/fd"))
    checkpoint = read_checkpoint(good)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del checkpoint
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
