"""What batches added to a moving statistic, from how it moved."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_keras.moving_statistics import batch_variance, mean_scale


def test_the_variance_of_a_batch_is_found_again():
    before, batch = np.array([1.0, 2.0, 0.5]), np.array([9.0, 4.0, 1e-6])
    moved = 0.01 * (batch - before)
    assert batch_variance(before, moved, 0.01) == pytest.approx(9.0)
    assert mean_scale(before, moved, 0.01) == pytest.approx(0.03)  # by which a mean of one deviation moves it


def test_a_batch_norm_that_keeps_its_statistics_has_no_scale():
    assert batch_variance(np.ones(2), np.zeros(2), 0.0) == 0.0
    assert mean_scale(np.ones(2), np.zeros(2), 0.0) == 0.0
