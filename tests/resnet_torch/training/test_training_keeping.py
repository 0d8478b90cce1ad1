"""The last checkpoint is there whole, or the one before is."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest
import torch

from weight_transfer.errors import CheckpointError, TransferError

STATE = {f"weight{n}": torch.full((30, 40), float(n)) for n in range(4)}


@pytest.fixture
def checkpoints():
    from resnet_torch.training.last_checkpoint import AtomicCheckpoints

    return AtomicCheckpoints()


@contextmanager
def files_of_at_most(size_bytes):
    """As on a disk that gets full: the system refuses to write more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_comes_back(checkpoints, tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoints.save_checkpoint({"state": STATE, "place": (1, 2)}, path)
    found = checkpoints.load_checkpoint(path)
    assert found["place"] == (1, 2)
    assert torch.equal(found["state"]["weight3"], STATE["weight3"])


def test_a_full_disk_leaves_the_one_before(checkpoints, tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoints.save_checkpoint({"place": "before"}, path)
    size = sum(tensor.nbytes for tensor in STATE.values())
    for limit in (1, 3000, size // 2, size - 1):  # torch fails in several ways on the way
        with files_of_at_most(limit), pytest.raises(TransferError, match=r"cannot write .*last.ckpt: File too large"):
            checkpoints.save_checkpoint({"state": STATE}, path)
        assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
        assert checkpoints.load_checkpoint(path) == {"place": "before"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn", b"\x80\x02c__builtin__\neval\nq\x00."])
def test_another_file_is_refused(checkpoints, tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last.ckpt: not a checkpoint that training wrote"):
        checkpoints.load_checkpoint(path)


def test_another_checkpoint_of_torch_is_refused(checkpoints, tmp_path):
    torch.save(STATE, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model.pt: not a checkpoint that training wrote \('place'\)"):
        checkpoints.load_checkpoint(tmp_path / "model.pt")


def test_another_error_of_torch_stays_one(checkpoints, tmp_path, monkeypatch):
    def save(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="a bug"):
        checkpoints.save_checkpoint({}, tmp_path / "last.ckpt")
