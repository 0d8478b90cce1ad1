"""docs/recipe.md is true: its commands parse, and the options that it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from weight_transfer.training import training_commands

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "recipe.md").read_text()
COMMANDS = {command.name: command for command in training_commands("resnet_keras", "resnet_keras.training")}
LINES = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_commands_parse(words):
    assert words[:3] == ["python", "-m", "resnet_keras"]
    command = COMMANDS[words[3]]
    with command.make_context(words[3], words[4:]):
        pass


def test_options_exist():
    known = {name for command in COMMANDS.values() for option in command.params for name in option.opts}
    named = set(re.findall(r"`(?:train )?(--[a-z-]+)", PAGE)) - {"--help"}
    assert len(named) > 10
    assert named <= known
