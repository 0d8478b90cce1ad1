"""Keras's losses, with its reductions and weights, for anyone's loop."""

from resnet_torch.losses.cross_entropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from resnet_torch.losses.differences import MeanAbsoluteError, MeanSquaredError
from resnet_torch.losses.epoch_loss import EpochLoss
from resnet_torch.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from resnet_torch.losses.from_keras import SumOfLosses, loss_from_keras
from resnet_torch.losses.loss import Loss

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "EpochLoss",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "SumOfLosses",
    "loss_from_keras",
]
