"""The loss of an epoch as Keras shows it, and as its callbacks see it."""

from __future__ import annotations

import torch
from torch import Tensor


class EpochLoss:
    """The mean of the batches' losses weighted by their sizes, so that a short last batch counts for less.

    What to add is the whole loss, regularization included, in training and in validation: Keras's
    ``loss`` and ``val_loss`` are that. Added up where the losses are, without waiting for a GPU.

    Source: Keras 3.15.1 keras/src/backend/tensorflow/trainer.py, train_step, and
    keras/src/metrics/reduction_metrics.py, Mean, in its float32.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count: Tensor | None = None

    def update(self, loss: Tensor, batch_size: int) -> None:
        """Adds the loss of a batch."""
        loss = loss.detach().to(torch.float32)
        if self.total is None or self.count is None:
            self.total, self.count = torch.zeros_like(loss), torch.zeros_like(loss)
        self.total += loss * batch_size
        self.count += batch_size

    def result(self) -> float:
        """The mean so far; 0 for no batch."""
        if self.total is None or self.count is None:
            return 0.0
        return float(self.total / self.count)
