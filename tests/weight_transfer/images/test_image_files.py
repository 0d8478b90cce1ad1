"""Which files are meant by files and folders."""

from __future__ import annotations

import pytest

from weight_transfer.errors import ImageError
from weight_transfer.images import image_files


def test_files_stay_as_named_and_folders_give_their_images(tmp_path):
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.txt", "deep/._d.jpg", "odd.name"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    found = image_files([tmp_path / "odd.name", tmp_path])
    assert [file.relative_to(tmp_path).as_posix() for file in found] == ["odd.name", "a.PNG", "b.jpg", "deep/er/c.webp"]


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere.jpg: does not exist. Expected an image file, or a folder"):
        image_files([tmp_path / "nowhere.jpg"])
    with pytest.raises(ImageError, match=r"a folder without image files. Expected names in .jpg"):
        image_files([tmp_path])
