"""Keras ResNet checkpoints to PyTorch, with proof."""
