"""A file is what its first bytes say; nothing else is decoded."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import image_files
import pytest
from PIL import EpsImagePlugin, Image

from weight_transfer.errors import ImageError
from weight_transfer.images.formats import FIRST_BYTES, check_format, opened
from weight_transfer.images.loading import WAYS, load_image

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch) -> Path:
    """A ``gs`` on the PATH that leaves a mark."""
    marker, program = tmp_path / "MARKER", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n: > '{marker}'\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None, raising=False)  # Pillow has it from 10.1
    return marker


@pytest.mark.parametrize("loading", WAYS)
def test_postscript_called_png_runs_nothing(loading, ghostscript, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(ImageError, match=r"cat.png: not a readable image .*b'%!PS-Ado'.*Expected JPEG, PNG, .*or PPM"):
        load_image(path, (8, 8), loading)
    assert not ghostscript.exists()


def test_pillow_left_to_itself_would_run_it(ghostscript):
    with contextlib.suppress(OSError), Image.open(io.BytesIO(POSTSCRIPT)) as image:
        image.load()
    assert ghostscript.exists()
    with pytest.raises(OSError, match="cannot identify image file"):
        opened(POSTSCRIPT)


def test_every_kind_of_photograph_is_known(tmp_path):
    for path in image_files.write_image_files(tmp_path):
        data = path.read_bytes()
        check_format(data)
        opened(data)


@pytest.mark.parametrize("name", FIRST_BYTES)
def test_pillow_writes_what_is_known(name):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, name)
    check_format(file.getvalue())
    assert opened(file.getvalue()).format == name
