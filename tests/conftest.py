"""Fixtures of the whole suite.

pytest's own process may import torch, never TensorFlow: the two in one process can crash. What
needs Keras is a function of a module under tests/, called through the `keras_side` fixture, which
runs it in a process of its own and returns its (picklable) result.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def keras_side() -> Iterator[Callable[..., Any]]:
    """Calls ``keras_side(function, *args)`` in one long-lived process that imports Keras once."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare_keras) as pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result()


def _prepare_keras() -> None:
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and images beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data beside the checkout")
    return SHARED
