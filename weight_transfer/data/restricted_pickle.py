"""Unpickling numpy arrays in plain containers, and nothing that could run code."""

from __future__ import annotations

import importlib
import io
import pickle
from typing import Any

from weight_transfer.errors import TransferError

# What a pickle of numpy arrays calls for, by every numpy from 1 to 2; the module is where today's numpy has it.
ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy._core.multiarray", "_reconstruct"): "numpy._core.multiarray",
    ("numpy", "ndarray"): "numpy",
    ("numpy", "dtype"): "numpy",
    ("_codecs", "encode"): "_codecs",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise TransferError(
                f"a pickle that calls for {module}.{name}, which could run code; nothing of it was run. "
                "Expected numpy arrays, lists, dictionaries and text only."
            )
        try:
            return getattr(importlib.import_module(ADMITTED[module, name]), name)
        except ModuleNotFoundError:  # numpy 1
            return getattr(importlib.import_module(module), name)


def load_arrays(content: bytes) -> Any:
    """Unpickles arrays, lists, dictionaries and text; text of Python 2 becomes bytes.

    Args:
        content: The pickle.

    Raises:
        TransferError: It is none, or it calls for anything but numpy's arrays.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except TransferError:
        raise
    except Exception as error:  # of damaged bytes, of many classes
        raise TransferError(f"not a readable pickle ({type(error).__name__}: {error}).") from error
