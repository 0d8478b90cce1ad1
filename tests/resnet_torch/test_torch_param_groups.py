"""Parameter groups with a smaller step near the image, and what optimizers make of them."""

from __future__ import annotations

import pytest
import torch

from resnet_torch import parameter_groups
from resnet_torch.optimizers import SGD


def rates(model, groups):
    """The learning rate and the weight decay of each parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    pairs = [(names[id(p)], (group["lr"], group["weight_decay"])) for group in groups for p in group["params"]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_each_part_learns_at_its_own_rate(small):
    model = small()
    found = rates(model, parameter_groups(model, 1.0, weight_decay=1e-4, layer_decay=0.5))
    assert set(found) == {name for name, _ in model.named_parameters()}
    parts = {"stem": 5, "stages.stage2": 4, "stages.stage3": 3, "stages.stage4": 2, "stages.stage5": 1, "head": 0}
    for name, parameter in model.named_parameters():
        before_last = next(number for part, number in parts.items() if name.startswith(part))
        assert found[name] == (0.5**before_last, 1e-4 if parameter.ndim > 1 else 0.0), name


def test_what_is_frozen_is_left_out(small):
    model = small()
    model.freeze("stem", "stage2")
    assert set(rates(model, parameter_groups(model, 1.0))) == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("optimizer", [lambda groups: SGD(groups, lr=9.0), torch.optim.SGD])
def test_an_optimizer_takes_the_steps(small, optimizer):
    model = small()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    stepping = optimizer(parameter_groups(model, 1.0, layer_decay=0.25))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    stepping.step()
    moved = {name: before[name] - parameter.detach() for name, parameter in model.named_parameters()}
    for name, rate in (
        ("head.fc_final", 1.0),
        ("stages.stage5.a.residual.bn5a_branch2a", 0.25),
        ("stem.conv", 0.25**5),
    ):
        step = moved[f"{name}.bias"]
        assert torch.allclose(step, torch.full_like(step, rate)), name
