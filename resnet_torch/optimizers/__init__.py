"""Keras's update rules as `torch.optim.Optimizer`s, for anyone's loop."""

from resnet_torch.optimizers.adagrad import Adagrad
from resnet_torch.optimizers.adam import Adam, AdamW
from resnet_torch.optimizers.adamax import Adamax
from resnet_torch.optimizers.from_keras import optimizer_from_keras
from resnet_torch.optimizers.loading import load_grad_scaler, load_optimizer
from resnet_torch.optimizers.nadam import Nadam
from resnet_torch.optimizers.rmsprop import RMSprop
from resnet_torch.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Nadam",
    "RMSprop",
    "load_grad_scaler",
    "load_optimizer",
    "optimizer_from_keras",
]
