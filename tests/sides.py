"""Verification without starting two processes for each: Keras in the long-lived one, torch in pytest's."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

import keras_training_runs
import pytest

from resnet_torch.comparison import compare
from resnet_torch.comparison.sensitivity import plant_all
from resnet_torch.comparison.trajectory import compare_runs
from resnet_torch.prediction import answer
from resnet_torch.standalone.__main__ import package

TORCH_SIDES = {
    "resnet_torch.comparison": compare,
    "resnet_torch.comparison.sensitivity": plant_all,
    "resnet_torch.comparison.trajectory": compare_runs,
}
TORCH_COMMANDS = {"resnet_torch.prediction": answer, "resnet_torch.standalone": package}


def record(request: dict[str, Any]) -> dict[str, Any]:
    """Runs on Keras's side."""
    from resnet_keras import recording

    return recording.record(request)


def run_sides_here(monkeypatch: pytest.MonkeyPatch, keras_side: Callable[..., Any]) -> None:
    """Makes `verify` call the same functions that its two processes run."""

    def run_side(module: str, request: dict[str, Any], on_progress: Callable[[float], None]) -> dict[str, Any]:
        if module == "resnet_keras.recording":
            return keras_side(record, request)
        if module == "resnet_keras.trajectory":
            return keras_side(keras_training_runs.record_runs, request)
        with contextlib.redirect_stdout(io.StringIO()):  # the progress of a process of its own
            return TORCH_SIDES[module](request)

    for module in ("reference", "verify", "planting", "training"):
        monkeypatch.setattr(f"weight_transfer.parity.{module}.run_side", run_side)
    monkeypatch.setattr("resnet_torch.testing.run_side", run_side)


def run_torch_commands_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `predict` and `convert --to-folder` call the same functions that their process runs."""

    def run_side(module: str, request: dict[str, Any], on_progress: Callable[[float], None]) -> dict[str, Any]:
        asked = json.loads(json.dumps(request))
        with contextlib.redirect_stdout(io.StringIO()):
            return json.loads(json.dumps(TORCH_COMMANDS[module](asked)))

    for module in ("predicting", "packaging"):
        monkeypatch.setattr(f"weight_transfer.cli.{module}.run_side", run_side)
