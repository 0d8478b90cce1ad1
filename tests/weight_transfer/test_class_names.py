"""Class names are read from each form that people keep them in, and from nothing else."""

from __future__ import annotations

import json

import pytest

from weight_transfer.class_names import read_class_names
from weight_transfer.errors import TransferError

FORMS = {
    "lines": "cat\ndog\n  green bird \n\n",
    "lines of Windows": "\ufeffcat\r\ndog\r\ngreen bird\r\n",
    "list": json.dumps(["cat", "dog", "green bird"]),
    "class_indices": json.dumps({"dog": 1, "green bird": 2, "cat": 0}),
    "names by number": json.dumps({"2": "green bird", "0": "cat", "1": "dog"}),
    "imagenet_class_index.json": json.dumps({"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "green bird"]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_names_in_order(form, tmp_path):
    file = tmp_path / "names"
    file.write_bytes(FORMS[form].encode())
    assert read_class_names(file) == ["cat", "dog", "green bird"]


BAD = {
    "an empty file": (b"\n \n", "holds no class names. Expected one name a line"),
    "an empty list": (b"[]", "holds no class names"),
    "damaged JSON": (b'["cat", ', r"damaged JSON \(Expecting value"),
    "numbers": (b"[1, 2]", "JSON, but no names of the classes 0, 1, 2 and so on"),
    "a gap": (b'{"0": "cat", "2": "dog"}', "JSON, but no names"),
    "a number twice": (b'{"cat": 0, "dog": 0}', "JSON, but no names"),
    "nothing for a number": (b'{"0": []}', "JSON, but no names"),
    "no text": (b"\xff\xfe\x00", "no text in UTF-8"),
}


@pytest.mark.parametrize("what", BAD)
def test_anything_else_is_refused(what, tmp_path):
    content, words = BAD[what]
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(TransferError, match=f"names: {words}"):
        read_class_names(tmp_path / "names")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TransferError, match=r"nowhere: cannot be read \(No such file or directory\)"):
        read_class_names(tmp_path / "nowhere")
