from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_torch.stages import stage


@pytest.mark.parametrize(("kind", "filters"), [("basic", (4, 8)), ("bottleneck", (2, 4, 8))])
def test_a_stage_projects_once_then_keeps_its_shape(kind, filters):
    module = stage(3, 3, filters, stage=3, num_blocks=3, kind=kind).eval()
    assert [name for name, _ in module.named_children()] == ["a", "b", "c"]
    assert [isinstance(block.shortcut, nn.Identity) for block in module] == [False, True, True]
    assert module(torch.zeros(1, 3, 9, 8)).shape == (1, 8, 5, 4)
