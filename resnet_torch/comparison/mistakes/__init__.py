"""Mistakes that ports of Keras networks make, to be planted in a correct port: what the gates must see.

Each is planted at an early, a middle and a late layer. `hypotheses` looks for the same causes from
the other side.
"""

from resnet_torch.comparison.mistakes.sites import Site
from resnet_torch.comparison.mistakes.table import MISTAKES, Mistake, chosen_sites, planted

__all__ = ["MISTAKES", "Mistake", "Site", "chosen_sites", "planted"]
