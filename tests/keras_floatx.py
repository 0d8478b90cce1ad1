"""Keras in another dtype for a while; for functions that are called through ``keras_side``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def floatx(keras: Any, dtype: str) -> Iterator[None]:
    """Builds and computes in a dtype, in ``keras`` or ``tf_keras``.

    Keras 3 keeps the dtype policy of the first layer that is built, whatever its floatx is afterwards: left as it
    is, every later test in the same process would build its models in this dtype. `floats` sets both.
    """
    if hasattr(keras, "config"):
        from resnet_keras.training.building import floats

        with floats(dtype):
            yield
        return
    before = keras.backend.floatx()
    keras.backend.set_floatx(dtype)
    try:
        yield
    finally:
        keras.backend.set_floatx(before)
