from __future__ import annotations

import pytest

from resnet_torch.anatomy.networks import dissect
from weight_transfer.architecture import DEPTHS


@pytest.fixture(scope="package")
def anatomies():
    """The columns of table 1."""
    return {depth: dissect(depth) for depth in DEPTHS}


@pytest.fixture(scope="package")
def choices():
    """ResNet-50 and what one could have built in its place, by title."""
    from resnet_torch.anatomy import bottleneck

    return {choice.title: choice for choice in bottleneck.networks()}
