"""docs/recipe.md is true: its commands parse, and the options that it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from weight_transfer.cli.app import COMMANDS as PROGRAM
from weight_transfer.cli.app import LazyCommand
from weight_transfer.cli.training_options import Framework

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "recipe.md").read_text()
STARTS: dict[tuple[str, ...], Framework | None] = {
    ("weight-transfer",): None,
    ("python", "-m", "resnet_keras"): "keras",
    ("torchrun", "--nproc-per-node", "4", "-m", "resnet_torch"): "torch",
}
LINES = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_commands_parse(words):
    start, framework = next((start, own) for start, own in STARTS.items() if tuple(words[: len(start)]) == start)
    name, *arguments = words[len(start) :]
    with LazyCommand(name, PROGRAM[name], framework).make_context(name, arguments):
        pass


def test_options_exist():
    options = [
        option for name in ("train", "evaluate") for option in LazyCommand(name, PROGRAM[name], None).load().params
    ]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    named = set(re.findall(r"`(?:train )?(--[a-z-]+)", PAGE)) - {"--help", "--with-optimizer"}
    assert len(named) > 10
    assert named <= known
