"""A reader finds the old file or the whole new one, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from weight_transfer.atomic import TEMPORARY_PREFIX, atomic_write, check_folder, check_output
from weight_transfer.errors import TransferError

OLD, NEW = b"the earlier file", b"the new file, and longer"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(OLD)
    return path


def test_the_new_file_takes_the_old_ones_place(output):
    with atomic_write(output, size_bytes=len(NEW)) as temporary:
        assert temporary.parent == output.parent
        temporary.write_bytes(NEW)
        assert output.read_bytes() == OLD
    assert output.read_bytes() == NEW
    assert names(output.parent) == [output.name]


def test_a_plain_text_path_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("x" * 255) as temporary:  # the longest name there is: the temporary's must not grow from it
        temporary.write_bytes(NEW)
    assert (tmp_path / ("x" * 255)).read_bytes() == NEW


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_mode_is_the_umasks(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "new") as temporary:
            temporary.write_bytes(NEW)
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), TransferError("no")])
def test_any_error_in_the_writer_leaves_the_old_file_alone(output, error):
    def write():
        with atomic_write(output) as temporary:
            temporary.write_bytes(NEW)
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert output.read_bytes() == OLD
    assert names(output.parent) == [output.name]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk_leaves_nothing(output, monkeypatch, call):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write():
        with atomic_write(output) as temporary:
            temporary.write_bytes(NEW)
            monkeypatch.setattr(os, call, full)

    if call == "open":
        monkeypatch.setattr(os, call, full)
    with pytest.raises(TransferError, match=r"cannot write .*model\.safetensors: No space left on device") as caught:
        write()
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.undo()
    assert output.read_bytes() == OLD
    assert names(output.parent) == [output.name]


def test_a_write_that_the_system_cuts_short_leaves_nothing(output):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(TransferError, match="File too large"), atomic_write(output) as temporary:
            temporary.write_bytes(NEW * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert output.read_bytes() == OLD
    assert names(output.parent) == [output.name]


KILLED_WHILE_WRITING = """
import sys, time
from weight_transfer.atomic import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    with open(temporary, "wb") as file:
        file.write(b"half of it")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


def test_kill_9_leaves_the_old_file(output):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(output)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert output.read_bytes() == OLD
    left = [name for name in names(output.parent) if name != output.name]
    assert len(left) == 1
    assert left[0].startswith(TEMPORARY_PREFIX)
    with atomic_write(output) as temporary:  # what is left over stands in nobody's way
        temporary.write_bytes(NEW)
    assert output.read_bytes() == NEW


def test_a_symbolic_link_is_replaced_and_its_target_kept(output):
    link = output.with_name("link")
    link.symlink_to(output)
    with atomic_write(link) as temporary:
        temporary.write_bytes(NEW)
    assert not link.is_symlink()
    assert link.read_bytes() == NEW
    assert output.read_bytes() == OLD


def test_missing_folder(tmp_path):
    with pytest.raises(TransferError, match=r"output folder .*nowhere does not exist or cannot be entered\. Create it"):
        check_output(tmp_path / "nowhere" / "model.h5")


def test_folder_as_output(tmp_path):
    with pytest.raises(TransferError, match=r"exists and is a folder. Name a file"), atomic_write(tmp_path):
        pytest.fail("must not be reached")
    assert names(tmp_path) == []


def test_device_or_pipe_as_output(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TransferError, match="exists and is not a regular file"):
        check_output(tmp_path / "pipe")
    with pytest.raises(TransferError, match="exists and is not a regular file"):
        check_output("/dev/null")


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="a folder of Linux that nobody may write, root included")
def test_a_folder_that_nobody_may_write():
    for check in (check_output, check_folder):
        with pytest.raises(TransferError, match=r"cannot write /proc/port.*: .*\. No file can be made in /proc"):
            check("/proc/port.safetensors", size_bytes=1_000)


def test_too_little_space(output, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10_000, 8_766, 1_234))
    check_output(output, size_bytes=1_234)
    with pytest.raises(TransferError, match=r"not enough space .*expected 1,235 bytes, 1,234 are free"):
        check_output(output, size_bytes=1_235)


def test_too_much_to_ask_of_any_disk(output):
    with pytest.raises(TransferError, match="not enough space"), atomic_write(output, size_bytes=2**62):
        pytest.fail("must not be reached")
    assert names(output.parent) == [output.name]


@pytest.mark.parametrize(
    ("code", "tolerated"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EACCES, True), (errno.EIO, False)]
)
def test_a_folder_that_cannot_be_synced(output, monkeypatch, code, tolerated):
    fsync = os.fsync

    def of_files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    def write():
        with atomic_write(output) as temporary:
            temporary.write_bytes(NEW)

    monkeypatch.setattr(os, "fsync", of_files_only)
    if tolerated:
        write()
    else:
        with pytest.raises(TransferError, match="could not be synced to the disk: Input/output error"):
            write()
    assert output.read_bytes() == NEW
