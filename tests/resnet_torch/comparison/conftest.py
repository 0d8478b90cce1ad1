"""Explaining without Keras: a right module stands for the reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch_recordings

from weight_transfer.parity.report import Explanation


@pytest.fixture
def explained(tmp_path) -> Callable[..., Explanation]:
    """Calls `torch_recordings.explained` with a place for its recording."""
    return partial(torch_recordings.explained, tmp_path / "reference.safetensors")
