"""One process that imports Keras once and runs functions on request.

A module of its own: the spawned process imports it by name, which it could not do with a conftest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def prepare() -> None:
    """Runs in the process before anything imports Keras."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")


@contextlib.contextmanager
def started() -> Iterator[Callable[..., Any]]:
    """Yields ``call(function, *args, **kwargs)``, which runs there and returns the picklable result."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=prepare) as pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result()
