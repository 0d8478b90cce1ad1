"""The header of a safetensors file that is written as a stream: the serialiser wants all tensors in memory at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Source: https://huggingface.co/docs/safetensors/metadata_parsing and safetensors' Dtype.
DTYPES: Mapping[str, str] = {
    "bool": "BOOL",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
ALIGNMENT = 8
LENGTH_SIZE = 8  # bytes of the number that the file begins with: the length of the header behind it


def safetensors_header(
    tensors: Iterable[tuple[str, np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """Returns the bytes before the first tensor's.

    Args:
        tensors: Name, dtype and shape of each, in the order in which their data follows.
        metadata: Texts by key.
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": DTYPES[dtype.name], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_SIZE, "little") + text
