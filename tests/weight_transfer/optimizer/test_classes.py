"""The table of Keras's optimizers and schedules is what both Kerases and PyTorch's side have."""

from __future__ import annotations

import dataclasses
import inspect

import keras_optimizers
import pytest
import torch
from torch import nn

from resnet_torch import schedules
from resnet_torch.optimizers import optimizer_from_keras
from resnet_torch.optimizers.from_keras import OPTIMIZER_CLASSES
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import (
    AVERAGE,
    NEVER_NEGATIVE,
    OPTIMIZERS,
    RATE,
    REQUIRED,
    SCHEDULES,
    SHARED,
    TODAYS,
    optimizer_class,
)
from weight_transfer.optimizer.spec import OptimizerSpec, spec_of_config

LIBRARIES = {"keras3": "keras", "tf_keras": "tf_keras"}
EVERY = {"momentum": 0.9, "amsgrad": True, "centered": True}  # what keeps more slots


def with_every_slot(name: str) -> OptimizerSpec:
    own = {argument.name for argument in OPTIMIZERS[name].own}
    return OptimizerSpec(name, {**{key: value for key, value in EVERY.items() if key in own}, "use_ema": True})


@pytest.mark.parametrize("generation", TODAYS)
def test_arguments_and_defaults_are_those_of_the_real_classes(generation, keras_side):
    optimizers = keras_side(keras_optimizers.signatures, LIBRARIES[generation], "optimizers")
    for name, row in OPTIMIZERS.items():
        assert row.defaults(generation) == optimizers[name], name
    known = keras_side(keras_optimizers.signatures, LIBRARIES[generation], "optimizers.schedules")
    for name, row in SCHEDULES.items():
        assert row.defaults(generation) == known[name], name


def test_a_default_that_differs_is_seen(keras_side):
    """The check above, checked: tf_keras's RMSprop overwrites the weights by their average after 100 steps."""
    optimizers = keras_side(keras_optimizers.signatures, "tf_keras", "optimizers")
    assert OPTIMIZERS["RMSprop"].defaults("keras3") != optimizers["RMSprop"]
    assert OPTIMIZERS["RMSprop"].defaults("keras3")["ema_overwrite_frequency"] is None
    assert optimizers["RMSprop"]["ema_overwrite_frequency"] == 100


def test_legacy_classes_have_the_same_arguments_of_their_own(keras_side):
    legacy = keras_side(keras_optimizers.signatures, "tf_keras", "optimizers.legacy")
    for name, row in OPTIMIZERS.items():
        if row.keras2 is not None:
            expected = {RATE: row.defaults("tf_keras")[RATE], **{one.name: one.default for one in row.own}}
            assert {key: value for key, value in legacy[name].items() if key != "name"} == expected


@pytest.mark.parametrize("generation", TODAYS)
def test_slots_are_those_that_the_real_classes_keep(generation, keras_side):
    specs = [with_every_slot(name) for name in OPTIMIZERS]
    kept = keras_side(keras_optimizers.slots_kept, LIBRARIES[generation], specs)
    assert kept == [[slot.name for slot in spec.slots] for spec in specs]


def test_the_table_and_the_optimizers_are_the_same():
    assert OPTIMIZERS.keys() == OPTIMIZER_CLASSES.keys()
    parameter = [nn.Parameter(torch.ones(2))]
    for name, row in OPTIMIZERS.items():
        config = {**with_every_slot(name).to_config()}
        optimizer = optimizer_from_keras(config, parameter)
        kept = ["average", *optimizer.slots(optimizer.param_groups[0])]
        assert [slot.name for slot in spec_of_config(config).slots] == kept
        assert row.slots[: row.interleaved] == spec_of_config(config).slots[1 : 1 + row.interleaved]
        assert row.slots == with_every_slot(name).slots[1:]
        assert with_every_slot(name).slots[0] == AVERAGE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torchs_defaults_are_kerass(name):
    plain = OPTIMIZER_CLASSES[name]([nn.Parameter(torch.ones(2))]).param_groups[0]
    of_keras = optimizer_from_keras({"class_name": name, "config": {}}, [nn.Parameter(torch.ones(2))]).param_groups[0]
    assert {key: value for key, value in plain.items() if key != "params"} == {
        key: value for key, value in of_keras.items() if key != "params"
    }


def test_a_default_of_another_keras_is_the_ports_too():
    found = {}
    for config in ({}, {"jit_compile": False}):
        made = optimizer_from_keras({"class_name": "RMSprop", "config": config}, [nn.Parameter(torch.ones(2))])
        found[len(config)] = made.param_groups[0]["ema_overwrite_frequency"]
    assert found == {0: None, 1: 100}


def test_schedules_are_those_of_the_torch_side():
    assert set(SCHEDULES) == set(schedules.SCHEDULE_CLASSES)
    for name, row in SCHEDULES.items():
        fields = {field.name: field.default for field in dataclasses.fields(schedules.SCHEDULE_CLASSES[name])}
        own = [argument for argument in row.arguments if argument.effect == "rule"]
        assert {argument.name for argument in own} == set(fields) - {"in_fit"}
        for argument in own:
            required = fields[argument.name] is dataclasses.MISSING
            assert (argument.default is REQUIRED) if required else (argument.default == fields[argument.name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_sides_take_every_argument(name):
    kind, row = OPTIMIZER_CLASSES[name], OPTIMIZERS[name]
    accepted = {*inspect.signature(kind.__init__).parameters, *SHARED}
    assert {argument.torch_name for argument in row.own} <= accepted
    values = {"use_ema": True, "nesterov": True, "amsgrad": True, "centered": True, "ema_overwrite_frequency": 3}
    names = {argument.name for argument in row.own} | set(SHARED) - {"clipvalue", "global_clipnorm"}
    arguments = {key: values.get(key, 0.5) for key in names}
    group = optimizer_from_keras(
        {"class_name": name, "config": arguments}, [nn.Parameter(torch.zeros(2))]
    ).param_groups[0]
    for argument in row.arguments:
        if argument.name in arguments and argument.torch_name != "betas":
            assert group[argument.torch_name] == arguments[argument.name]
    assert group.get("betas", (0.5, 0.5)) == (0.5, 0.5)


def test_what_never_is_negative():
    assert {"velocity", "velocity_hat", "norm", "accumulator"} == NEVER_NEGATIVE


def test_a_class_is_found_in_any_case():
    assert optimizer_class("Custom>adamw") is OPTIMIZERS["AdamW"]
    for name in ("Lion", None):
        with pytest.raises(TransferError, match=r"No optimizer .* Known: Adagrad, Adam, AdamW, Adamax, Nadam, RMSprop"):
            optimizer_class(name)
