"""Keras checkpoints as named arrays: reading every container, without Keras."""

from weight_transfer.checkpoint.checkpoint import Array, Checkpoint, read_checkpoint

__all__ = ["Array", "Checkpoint", "read_checkpoint"]
