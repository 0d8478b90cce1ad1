from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_torch import create_resnet
from resnet_torch.measurement import measure


def test_a_convolution_costs_a_kernel_per_number_of_its_output():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)).eval()
    measured = measure(network, (3, 9, 6))
    assert measured.shapes == {"0": (1, 8, 5, 3), "1": (1, 8, 5, 3), "": (1, 8, 5, 3)}
    assert measured.multiply_adds == {"": 5 * 3 * 8 * 27, "0": 5 * 3 * 8 * 27}
    assert measured.num_parameters == 8 * 27 + 8 + 2 * 8


@pytest.mark.parametrize("depth", [18, 50])
def test_a_measured_network_costs_what_its_description_says(depth):
    with torch.device("meta"):
        model = create_resnet((97, 225, 1), depth=depth).eval()
    rows = [layer for layer in model.network.layers.values() if layer.weights]
    measured = measure(model, (1, 97, 225))
    for row in rows:
        if "kernel" in row.weights:
            assert measured.multiply_adds[model.network.modules[row.path][0]] == row.multiply_adds, row.path
    assert measured.multiply_adds[""] == sum(row.multiply_adds for row in rows)
    assert not any(module._forward_hooks for module in model.modules())
