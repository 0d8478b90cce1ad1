"""The command line in pytest's own process, and a small network that Keras saved and recorded once."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import checkpoints
import keras_resnets
import pytest
import sides

from weight_transfer import convert
from weight_transfer.cli import main, terminal
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.parity.reference import record
from weight_transfer.parity.runner import Runner
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclasses.dataclass(frozen=True)
class Verified:
    """Files of one network.

    Attributes:
        source: What Keras saved.
        port: Its correct port.
        recording: What Keras computes.
        broken: A port with another epsilon.
        other: Another checkpoint.
    """

    source: Path
    port: Path
    recording: Path
    broken: Path
    other: Path


@pytest.fixture(scope="session")
def verified(tmp_path_factory, keras_side, runner) -> Verified:
    folder = tmp_path_factory.mktemp("verified")
    found = Verified(*(folder / name for name in ("a.h5", "a.safetensors", "r.safetensors", "b.safetensors", "c.h5")))
    keras_side(keras_resnets.twin, found.source, **checkpoints.SMALL)
    convert(found.source, found.port)
    record(found.source, found.recording, runner=runner)
    port = read_converted(found.port)
    resnet = port.network.resnet
    conventions = dataclasses.replace(resnet.conventions, epsilon=1e-5)
    tensors = [Tensor.of(name, a) for name, a in port.tensors().items()]
    wrong = resnet_graph(dataclasses.replace(resnet, conventions=conventions))
    write_converted(found.broken, tensors, dataclasses.replace(port.description, network=wrong))
    checkpoints.checkpoint(found.other, checkpoints.small())
    return found


class Command:
    """``command("verify", file)`` in this process; its requests are answered by processes of their own, or `runner`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.runner: Runner | None = None

    def __call__(self, *arguments: Any) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["weight-transfer", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(self.runner)
        stdout, stderr = self.capsys.readouterr()
        return Done(int(ended.value.code or 0), stdout, stderr)


@pytest.fixture
def command(monkeypatch, capsys) -> Command:
    monkeypatch.setattr(terminal.out, "width", 200)
    return Command(monkeypatch, capsys)


@pytest.fixture
def here(command, runner) -> None:
    """Keras in the long-lived process, torch in pytest's."""
    command.runner = runner


@pytest.fixture
def torch_here(command) -> None:
    """What `predict` and `convert --to-folder` do with torch, in pytest's process."""
    command.runner = sides.sides_here()


@pytest.fixture
def no_work(command) -> None:
    """Neither side may start."""
    command.runner = sides.no_work
