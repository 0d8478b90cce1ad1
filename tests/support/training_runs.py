"""What two trainings left, compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from resnet_torch.training import train
from weight_transfer.training import Recipe, RunFolder


def last(folder: Path) -> dict[str, Any]:
    """The last checkpoint."""
    checkpoint: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return checkpoint


def differences(actual: Any, expected: Any, where: str = "") -> list[str]:
    """Where two checkpoints differ in a bit."""
    if isinstance(expected, torch.Tensor):
        return [] if torch.equal(actual, expected) and actual.dtype == expected.dtype else [where]
    if isinstance(expected, dict):
        if list(actual) != list(expected):
            return [f"{where}: keys"]
        return [one for key in expected for one in differences(actual[key], expected[key], f"{where}/{key}")]
    if isinstance(expected, (list, tuple)):
        if len(actual) != len(expected):
            return [f"{where}: length"]
        pairs = enumerate(zip(actual, expected, strict=True))
        return [one for n, pair in pairs for one in differences(*pair, f"{where}/{n}")]
    same = actual == expected or (actual != actual and expected != expected)
    return [] if same else [f"{where}: {actual} {expected}"]


def resumed(folder: Path, **changes) -> Path:
    recipe, _, settings = RunFolder(folder).read()
    train(Recipe.from_dict({**recipe.to_dict(), **changes}), resume=True, **settings)
    return folder


def close(actual, expected, within=1e-12):
    for name, tensor in expected["state_dict"].items():
        if name.endswith("num_batches_tracked"):  # Keras counts none, and a converted file neither
            continue
        other = actual["state_dict"][name]
        error = (other - tensor).abs().max() / tensor.abs().max().clamp(min=1e-3)
        assert error <= within, name
