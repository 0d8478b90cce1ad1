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
        from resnet_keras.training.network import floats

        with floats(dtype):
            yield
        return
    before, policy = keras.backend.floatx(), keras.mixed_precision.global_policy()
    keras.backend.set_floatx(dtype)
    keras.mixed_precision.set_global_policy(dtype)  # one that an earlier test chose would stay
    try:
        yield
    finally:
        keras.backend.set_floatx(before)
        keras.mixed_precision.set_global_policy(policy)
