"""A folder appears whole or not at all, and nothing that is there is replaced."""

from __future__ import annotations

import pytest

from weight_transfer.atomic import atomic_folder, check_folder
from weight_transfer.errors import TransferError


@pytest.mark.parametrize("exists", [False, True])
def test_the_folder_gets_its_name_when_it_is_whole(exists, tmp_path):
    folder = tmp_path / "port"
    if exists:
        folder.mkdir()
    with atomic_folder(folder) as temporary:
        (temporary / "a").write_text("b")
        assert not (folder / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["port"]
    assert (folder / "a").read_text() == "b"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(error, tmp_path):
    def fail() -> None:
        with atomic_folder(tmp_path / "port") as temporary:
            (temporary / "a").write_text("b")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_comes_there_meanwhile_is_not_replaced(tmp_path):
    folder = tmp_path / "port"

    def race() -> None:
        with atomic_folder(folder) as temporary:
            (temporary / "a").write_text("new")
            folder.mkdir()
            (folder / "a").write_text("theirs")

    with pytest.raises(TransferError, match=r"cannot write .*port: .*Nothing was left there"):
        race()
    assert (folder / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["port"]


def test_refusals(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(TransferError, match="full is not empty"):
        check_folder(tmp_path / "full")
    for name in ("full/x", "link"):
        with pytest.raises(TransferError, match="exists and is not a folder"):
            check_folder(tmp_path / name)
    with pytest.raises(TransferError, match="does not exist or cannot be entered"):
        check_folder(tmp_path / "no" / "port")
    with pytest.raises(TransferError, match=r"not enough space for .*port: expected 1,"):
        check_folder(tmp_path / "port", size_bytes=10**18)
