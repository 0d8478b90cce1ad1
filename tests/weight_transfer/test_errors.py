"""Messages are composed when they are shown, and look for likely names only in the lines that are shown."""

from __future__ import annotations

import difflib
import errno
import pickle

import checkpoints
import pytest

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.array_accounts import Accounting
from weight_transfer.errors import SHOWN_AT_MOST, MappingError, TransferError, listing, of_the_system
from weight_transfer.resnet.recipe import resnet_graph


def test_a_message_is_composed_once_and_when_it_is_shown():
    calls = []

    def message():
        calls.append(1)
        return "the file is wrong"

    error = MappingError(message)
    assert calls == []
    assert f"{error}" == str(error) == "the file is wrong"
    assert calls == [1]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (MappingError, "the file is wrong")
    assert str(TransferError("plain")) == "plain"


def test_hints_are_looked_for_in_lines_that_are_shown():
    asked = []

    def hint(line):
        asked.append(line)
        return f" ({line})"

    shown = listing([f"{n:03}" for n in range(600)], hint)
    assert shown.startswith("\n  000 (000)\n  001 (001)")
    assert shown.endswith("\n  +590 more")
    assert len(asked) == SHOWN_AT_MOST


def test_an_error_that_nobody_sees_looks_for_no_names(tmp_path, monkeypatch):
    """A network of another kind is first tried as each dialect's ResNet: 600 names against 600, thrown away."""
    path = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())

    def never(*arguments, **more):
        raise AssertionError("composed")

    monkeypatch.setattr(difflib, "get_close_matches", never)
    with read_checkpoint(path) as checkpoint:
        error = Accounting.of(checkpoint.arrays, resnet_graph(checkpoints.small("keras-applications"))).error("not it")
    with pytest.raises(AssertionError, match="composed"):
        str(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied", b"/a"), "Permission denied: /a."),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "No space left on device: /a. Free some space, or"),
        (OSError("no number"), "no number."),
        (OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, "/b"), "Invalid cross-device link: /a: /b."),
    ],
)
def test_what_the_system_refused_is_said_in_its_words(error, text):
    assert str(of_the_system(error)).startswith(text)
