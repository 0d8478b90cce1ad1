"""docs/recipe.md is true: its commands parse, and the options that it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from resnet_torch.training.options import OPTIONS
from weight_transfer.training import training_commands

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "recipe.md").read_text()
SIDES = {
    "resnet_keras": training_commands("resnet_keras", "resnet_keras.training"),
    "resnet_torch": training_commands("resnet_torch", "resnet_torch.training", OPTIONS),
}
COMMANDS = {side: {command.name: command for command in commands} for side, commands in SIDES.items()}
STARTS = (["python", "-m"], ["torchrun", "--nproc-per-node", "4", "-m"])
LINES = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_commands_parse(words):
    side, name, *arguments = next(words[len(start) :] for start in STARTS if words[: len(start)] == start)
    with COMMANDS[side][name].make_context(name, arguments):
        pass


def test_options_exist():
    options = [option for commands in SIDES.values() for command in commands for option in command.params]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    named = set(re.findall(r"`(?:train )?(--[a-z-]+)", PAGE)) - {"--help", "--with-optimizer"}
    assert len(named) > 10
    assert named <= known
