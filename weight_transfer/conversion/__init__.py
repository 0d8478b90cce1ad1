"""From a Keras checkpoint to a PyTorch state dict, and back."""
