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
    if "PYTEST_XDIST_WORKER" in os.environ:  # one core each: the workers share them
        os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")


@contextlib.contextmanager
def started() -> Iterator[Callable[..., Any]]:
    """Yields ``call(function, *args, **kwargs)``, which runs there and returns the picklable result."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=prepare) as pool:
        yield lambda function, *args, **kwargs: pool.submit(_called, function, args, kwargs).result()


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a function; a framework's own exception becomes plain, or unpickling it would import the framework."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("tensorflow", "keras", "tf_keras"):
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
