"""Fixtures of the whole suite.

pytest's own process may import torch, never TensorFlow: the two in one process can crash. What
needs Keras is a function of a module under tests/, called through the `keras_side` fixture, which
runs it in a process of its own and returns its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras_process
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def keras_side() -> Iterator[Callable[..., Any]]:
    """Calls ``keras_side(function, *args)`` in one long-lived process that imports Keras once."""
    with keras_process.started() as call:
        yield call


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and images beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data beside the checkout")
    return SHARED
