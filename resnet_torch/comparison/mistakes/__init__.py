"""Mistakes that ports of Keras networks make: how each is planted in a correct port, and how it is recognised.

Sensitivity plants each at an early, a middle and a late layer; explanations try what recognises them. A new mistake is
one entry of `MISTAKES`, and two sentences on it in `weight_transfer.parity.causes`.
"""

from resnet_torch.comparison.mistakes.mistake import Kind, Mistake
from resnet_torch.comparison.mistakes.sites import Site
from resnet_torch.comparison.mistakes.table import CAUSE_OF, KINDS, MISTAKES, chosen_sites, planted

__all__ = ["CAUSE_OF", "KINDS", "MISTAKES", "Kind", "Mistake", "Site", "chosen_sites", "planted"]
