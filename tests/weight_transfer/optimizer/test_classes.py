"""Optimizers' configs: whose they are, and what is refused before anything is read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_torch import schedules
from resnet_torch.optimizers import optimizer_from_keras
from resnet_torch.optimizers.from_keras import KINDS
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import RULES, SCHEDULES, read_config


def test_the_tables_and_the_optimizers_are_the_same():
    assert RULES.keys() == KINDS.keys()
    assert set(SCHEDULES) == set(schedules.SCHEDULES)
    parameter = [nn.Parameter(torch.ones(2))]
    every = {"momentum": 0.9, "amsgrad": True, "centered": True}
    for name, rule in RULES.items():
        arguments = {key: value for key, value in every.items() if key in rule.names}
        config = {"class_name": name, "config": {"name": "x", **arguments, "use_ema": True}}
        optimizer = optimizer_from_keras(config, parameter)
        kept = ["average", *optimizer.slots(optimizer.param_groups[0])]
        assert [slot.name for slot in read_config(config).slots] == kept
        assert rule.slots[: rule.interleaved] == read_config(config).slots[1 : 1 + rule.interleaved]


@pytest.mark.parametrize(
    ("arguments", "generation"),
    [
        ({"name": "adam", "learning_rate": 0.1}, "keras3"),
        ({}, "keras3"),
        ({"name": "Adam", "jit_compile": False, "is_legacy_optimizer": False}, "tf_keras"),
        ({"name": "Adam", "decay": 0.0}, "legacy"),
        ({"lr": 0.1, "decay": 0.0}, "keras2"),
        ({"lr": 0.1}, "keras2"),  # Keras 1
    ],
)
def test_whose_config_it_is(arguments, generation):
    assert read_config({"class_name": "Adam", "config": arguments}).generation == generation


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_name": "SGD", "config": {"momentum": "0.9"}}, r"holds what is no number:\n  momentum='0.9'"),
        ({"class_name": "Adam", "config": {"beta_1": [0.9]}}, r"beta_1=\[0.9\]"),
        ({"class_name": "Adam", "config": {"decay": 0.0, "beta_1": 10**400}}, "beta_1=1000"),
        ({"class_name": "Adam", "config": {"learning_rate": float("inf")}}, "learning_rate=inf"),
        ({"class_name": "Adam", "config": {"\x1b[2J": 1}}, r"not known:\n  '\\x1b\[2J'"),
        ({"class_name": "Adam", "config": {"amsgrad": 1e308}}, "amsgrad=1e"),
        (
            {"class_name": "Adam", "config": {"learning_rate": {"class_name": "CosineDecay", "config": 3}}},
            "no schedule",
        ),
        ({"class_name": "Adam", "config": {"learning_rate": {"class_name": None}}}, "no schedule"),
        (
            {
                "class_name": "Adam",
                "config": {"learning_rate": {"class_name": "CosineDecay", "config": {"\x1b[2J": 1, "a": ["b"]}}},
            },
            r"schedule holds what is no number:\n  '\\x1b\[2J': 1\n  'a': \['b'\]",
        ),
        ({"class_name": "Adam", "config": ["x"]}, r"Adam's config is list. Expected its arguments by name"),
    ],
)
def test_what_cannot_be_is_refused(config, message):
    with pytest.raises(TransferError, match=message):
        read_config(config)
