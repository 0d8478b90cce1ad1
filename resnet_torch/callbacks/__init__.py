"""Keras's callbacks, decision for decision, for anyone's loop: call their hooks where ``fit`` would."""

from resnet_torch.callbacks.early_stopping import EarlyStopping
from resnet_torch.callbacks.learning_rate_scheduler import LearningRateScheduler
from resnet_torch.callbacks.model_checkpoint import ModelCheckpoint
from resnet_torch.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau

__all__ = ["EarlyStopping", "LearningRateScheduler", "ModelCheckpoint", "ReduceLROnPlateau"]
