from __future__ import annotations

import pytest

from resnet_torch.network_summary import alternative_networks, summary_of_depth
from weight_transfer.architecture import DEPTHS


@pytest.fixture(scope="package")
def summaries():
    """The columns of table 1."""
    return {depth: summary_of_depth(depth) for depth in DEPTHS}


@pytest.fixture(scope="package")
def choices():
    """ResNet-50 and what one could have built in its place, by title."""
    return {choice.title: choice for choice in alternative_networks()}
