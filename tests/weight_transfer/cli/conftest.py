"""The command line in pytest's own process, and a small network that Keras saved and recorded once."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import keras_resnets
import pytest
from sides import run_sides_here, run_torch_commands_here

from weight_transfer import convert
from weight_transfer.cli import main, terminal
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.parity.reference import record
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
def verified(tmp_path_factory, keras_side) -> Verified:
    folder = tmp_path_factory.mktemp("verified")
    found = Verified(*(folder / name for name in ("a.h5", "a.safetensors", "r.safetensors", "b.safetensors", "c.h5")))
    keras_side(keras_resnets.twin, found.source, **checkpoints.SMALL)
    convert(found.source, found.port)
    with pytest.MonkeyPatch.context() as patch:
        run_sides_here(patch, keras_side)
        record(found.source, found.recording)
    port = read_converted(found.port)
    resnet = port.network.resnet
    conventions = dataclasses.replace(resnet.conventions, epsilon=1e-5)
    tensors = [Tensor.of(name, a) for name, a in port.tensors().items()]
    wrong = resnet_graph(dataclasses.replace(resnet, conventions=conventions))
    write_converted(found.broken, tensors, dataclasses.replace(port.description, network=wrong))
    checkpoints.checkpoint(found.other, checkpoints.small())
    return found


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., Done]:
    """``command("verify", file)``; the two sides run in real processes unless `run_sides_here` was called."""
    monkeypatch.setattr(terminal.out, "width", 200)

    def call(*arguments: Any) -> Done:
        monkeypatch.setattr(sys, "argv", ["weight-transfer", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        stdout, stderr = capsys.readouterr()
        return Done(int(ended.value.code or 0), stdout, stderr)

    return call


@pytest.fixture
def here(monkeypatch, keras_side) -> None:
    """Keras in the long-lived process, torch in pytest's."""
    run_sides_here(monkeypatch, keras_side)


@pytest.fixture
def torch_here(monkeypatch) -> None:
    """What `predict` and `convert --to-folder` do with torch, in pytest's process."""
    run_torch_commands_here(monkeypatch)


@pytest.fixture
def no_work(monkeypatch) -> None:
    """Neither side may start."""

    def run_side(*arguments: Any) -> None:
        raise RuntimeError("long work was started")

    for module in ("reference", "verify", "planting", "training"):
        monkeypatch.setattr(f"weight_transfer.parity.{module}.run_side", run_side)
