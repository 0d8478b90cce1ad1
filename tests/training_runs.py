"""What two trainings left, compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


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
