"""The state of a Keras optimizer: from a checkpoint to PyTorch, and back. Loads no framework."""
