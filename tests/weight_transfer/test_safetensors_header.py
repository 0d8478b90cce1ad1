"""The header is the one that the safetensors library writes."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from weight_transfer.safetensors_header import DTYPES, safetensors_header


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_the_librarys(dtype):
    tensors = {"a": np.zeros((2, 3), dtype), "b": np.zeros((), dtype), "c": np.zeros((0, 4), dtype)}
    header = safetensors_header(((name, x.dtype, x.shape) for name, x in tensors.items()), {"key": 'a "text"'})
    assert save(tensors, {"key": 'a "text"'}).startswith(header)
    assert len(header) % 8 == 0
