"""The run folder's own file."""

from __future__ import annotations

import pytest

from weight_transfer.errors import TransferError
from weight_transfer.training import Recipe, RunFolder


def test_a_damaged_recipe_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    for content in ("{", "[]", '{"side": "resnet_jax", "side_options": {}, "recipe": {}}'):
        folder.recipe.write_text(content)
        with pytest.raises(TransferError, match=r"recipe.json: not a run's recipe"):
            folder.read()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run").begin(Recipe(data="d", output="o"), "resnet_keras", {})


def test_no_history_yet_is_an_empty_one(tmp_path):
    assert len(RunFolder(tmp_path).read_history()) == 0
