"""A PyTorch module against a recording of Keras: what differs, where first, and why."""

from resnet_torch.comparison.port_comparison import compare
from resnet_torch.comparison.subject import Subject, subject_of, subject_of_module

__all__ = ["Subject", "compare", "subject_of", "subject_of_module"]
