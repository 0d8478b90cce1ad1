"""What is learned from and what is kept apart for validation, decided by a seed."""

from __future__ import annotations

import hashlib

import numpy as np

from weight_transfer.data.image_set import Indices
from weight_transfer.errors import TransferError


def split(n: int, seed: int = 2021, share: float = 0.2) -> tuple[Indices, Indices]:
    """Splits ``range(n)`` as ``sklearn.model_selection.train_test_split(random_state=seed)`` does.

    Args:
        n: How many images.
        seed: Decides which go where.
        share: Of the images, for validation; rounded up.

    Returns:
        Training indices and validation indices, each in a drawn order.

    Raises:
        TransferError: One of the two would be empty.

    Source: scikit-learn sklearn/model_selection/_split.py, ShuffleSplit._iter_indices, _validate_shuffle_split.

    Example:
        >>> [part.tolist() for part in split(5, seed=2021)]
        [[0, 3, 1, 4], [2]]
    """
    num_validation = int(np.ceil(n * share))
    if not 0 < share < 1 or not 0 < num_validation < n:
        raise TransferError(
            f"a validation share of {share} of {n} images leaves nothing to train on or nothing to validate on. "
            "Expected a share between 0 and 1, and more images."
        )
    order = np.random.RandomState(seed).permutation(n).astype(np.int64)
    return order[num_validation:], order[:num_validation]


def in_validation(key: str, seed: int = 2021, share: float = 0.2) -> bool:
    """Whether a stream's sample is kept apart: decided by its key alone, so that nothing has to be counted first."""
    return _fraction(f"{seed}:{key}") < share


def index_of(key: str) -> int:
    """Returns a number for a stream's sample: below 2**63, the same for the same key everywhere."""
    return int.from_bytes(_digest(key), "big") >> 1


def _fraction(text: str) -> float:
    return int.from_bytes(_digest(text), "big") / 2**64


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
