"""Keras checkpoints as named arrays: reading every container, without Keras."""

from weight_transfer.checkpoint.checkpoint import Array, Checkpoint, SavedOptimizer, read_checkpoint
from weight_transfer.checkpoint.model_json import read_config

__all__ = ["Array", "Checkpoint", "SavedOptimizer", "read_checkpoint", "read_config"]
