"""The random numbers of dropout and noise: drawn anew for each step, so that no generator's state has to be kept."""

from __future__ import annotations

import numpy as np
import torch

NOISE_DRAW = 3  # beside those of weight_transfer.data.order


def reseed(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Makes torch's generators a function of where a training is.

    Args:
        seed: Of the run.
        epoch: From 0.
        batch: Of the epoch, from 0.
        rank: Of the process.
    """
    words = np.random.SeedSequence((seed, NOISE_DRAW, epoch, batch, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))
