from __future__ import annotations

import pytest

from weight_transfer.checkpoint import limits
from weight_transfer.checkpoint.json_text import parse_json
from weight_transfer.errors import CheckpointError


def test_json_is_data():
    assert parse_json("a", b'{"class_name": "Lambda", "n": [1, null]}') == {"class_name": "Lambda", "n": [1, None]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Expecting property name"),
        (b"\xff\xfe\xfa", "codec can't decode"),
        ('{"a": 1, "a": 2}', "a key appears twice in one object"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[" * 102 + "]" * 102, "nested more than 100 deep"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
    ],
)
def test_bad_json(text, problem):
    with pytest.raises(CheckpointError, match=f"'a': its JSON cannot be used .*{problem}.*Save the model again"):
        parse_json("a", text)


def test_json_of_100_levels_is_accepted():
    assert parse_json("a", "[" * 100 + "]" * 100)


def test_large_json(monkeypatch):
    monkeypatch.setattr(limits, "JSON_BYTES", 10)
    with pytest.raises(CheckpointError, match="11 bytes is more than the 10"):
        parse_json("a", "[1,2,3,4,5]")
