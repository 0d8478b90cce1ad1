"""The moving statistics of batch norms, and the scale of what was averaged into them."""

from __future__ import annotations

import numpy as np

STATISTICS = ("moving_mean", "moving_variance")


def batch_variance(before: np.ndarray, moved: np.ndarray, share: float) -> float:
    """Returns the largest variance that batches had, by how a moving variance moved.

    Args:
        before: The moving variance.
        moved: What was added to it.
        share: That the batches' own variance has in the new one, ``1 - momentum`` after one step.
    """
    return float(np.max(np.abs(before + moved / share), initial=0.0)) if share > 0 else 0.0


def mean_scale(before: np.ndarray, moved: np.ndarray, share: float) -> float:
    """Returns what batches add to a moving mean, by order of magnitude: a mean that cancels to zero is rounding of it.

    Args:
        before: The moving variance.
        moved: What was added to it.
        share: That the batches' own statistic has in the new one.
    """
    return share * float(np.sqrt(batch_variance(before, moved, share)))
