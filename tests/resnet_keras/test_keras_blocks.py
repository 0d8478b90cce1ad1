"""The Keras twin's identity blocks, as tests/resnet_torch/test_torch_blocks.py has PyTorch's."""

from __future__ import annotations

import keras_blocks
import numpy as np
import pytest


@pytest.mark.parametrize("kind", ["bottleneck", "basic"])
def test_where_the_residual_is_zero_the_block_is_the_identity(kind, keras_side):
    x, y, gradient = keras_side(keras_blocks.with_residual_scaled, kind, 0.0)
    assert np.array_equal(y, x)
    assert np.array_equal(gradient, np.ones_like(x))  # dF/dx + 1, with F = 0


def test_where_it_is_not_it_is_not(keras_side):
    x, y, gradient = keras_side(keras_blocks.with_residual_scaled, "bottleneck", 1.0)
    assert np.abs(y - x).max() > 0.1
    assert np.abs(gradient - 1).max() > 0.1
