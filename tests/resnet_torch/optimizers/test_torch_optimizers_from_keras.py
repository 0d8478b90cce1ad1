"""Optimizers from the configs that Keras 3, tf_keras and Keras 2 keep."""

from __future__ import annotations

import itertools

import keras_optimizers
import numpy as np
import pytest
import torch
from optimizer_steps import EXTRAS, RULES, WARMUP, drawn, errors, torch_steps
from sweeps import each_once, slow_but
from torch import nn

from resnet_torch import optimizers
from resnet_torch.optimizers import optimizer_from_keras
from resnet_torch.schedules import CosineDecay, Keras2Decay
from weight_transfer.errors import TransferError

FLOAT64 = 1e-12
# From the betas that a legacy optimizer's config holds, rounded, and tf_keras's own roundings in float64.
TF_KERAS = {"Nadam": 1e-8, "Adagrad": 1e-7}


def params():
    return [nn.Parameter(torch.ones(3))]


def built(config, data):
    return torch_steps(lambda params: optimizer_from_keras(config, params), *data)


def pairs(rules, extras):
    """Each rule with each extra: in every run each rule and each extra once."""
    return slow_but(each_once(rules, extras), itertools.product(rules, extras))


@pytest.mark.parametrize(("rule", "extra"), pairs([*RULES], [*EXTRAS]))
def test_keras_3s_config_gives_keras_3s_steps(rule, extra, keras_side):
    name, own = RULES[rule]
    arguments, data = {"learning_rate": 0.03, **own, **EXTRAS[extra]}, drawn(num_steps=8)
    expected = keras_side(keras_optimizers.keras3, name, arguments, *data, graph=extra == "schedule")
    assert max(errors(built(expected["config"], data), expected).values()) <= FLOAT64


@pytest.mark.parametrize(
    ("rule", "extra"), pairs([*RULES], ["plain", "clipnorm", "global_clipnorm", "weight_decay", "ema"])
)
def test_tf_kerass_config_gives_tf_kerass_steps(rule, extra, keras_side):
    name, own = RULES[rule]
    arguments, data = {"learning_rate": 0.03, **own, **EXTRAS[extra]}, drawn(num_steps=8)
    expected = keras_side(keras_optimizers.tf_keras, name, arguments, *data)
    assert expected["config"]["class_name"] == f"Custom>{name}"
    assert max(errors(built(expected["config"], data), expected).values()) <= TF_KERAS.get(name, FLOAT64)


OLD_RULES = [rule for rule in RULES if rule not in ("AdamW", "Nadam")]
OLD_EXTRAS = [{}, {"clipnorm": 0.7}, {"clipvalue": 0.4}, {"decay": 0.07}, {"global_clipnorm": 2.0}]


@pytest.mark.parametrize(("rule", "extra"), pairs(OLD_RULES, OLD_EXTRAS))
def test_keras_2s_config_gives_keras_2s_steps(rule, extra, keras_side):
    name, own = RULES[rule]
    arguments, data = {"learning_rate": 0.03, **own, **extra}, drawn(num_steps=8)
    expected = keras_side(keras_optimizers.tf_keras, name, arguments, *data, legacy=True)
    # The first accumulator is exact there too; the arguments pass through float32 variables.
    tolerance = 1e-7 if name == "Adagrad" else FLOAT64
    assert errors(built(expected["config"], data), expected)["weights"] <= tolerance


def test_keras_2_had_epsilon_elsewhere(keras_side):
    for name in ("RMSprop", "Adagrad"):
        arguments, data = {"learning_rate": 0.03, "epsilon": 0.1}, drawn(num_steps=8)
        expected = keras_side(keras_optimizers.tf_keras, name, arguments, *data, legacy=True)
        later = {**expected["config"], "config": {**expected["config"]["config"]}}
        del later["config"]["decay"]
        assert errors(built(expected["config"], data), expected)["weights"] <= 1e-7
        assert errors(built(later, data), expected)["weights"] > 1e-4


def test_a_config_as_a_file_holds_it(keras_side):
    config = keras_side(keras_optimizers.serialized, "AdamW", {"learning_rate": WARMUP, "beta_2": 0.99})
    assert config["config"]["learning_rate"]["class_name"] == "CosineDecay"
    optimizer = optimizer_from_keras(config, params())
    assert isinstance(optimizer, optimizers.AdamW)
    assert optimizer.defaults["lr"] == CosineDecay(**WARMUP[1], in_fit=True)
    assert optimizer.defaults["betas"] == (0.9, 0.99)
    assert optimizer.defaults["weight_decay"] == 0.004


def test_keras_2_without_tensorflow():
    config = {"lr": 0.01, "beta_1": 0.9, "beta_2": 0.999, "decay": 1e-6, "epsilon": None, "amsgrad": False}
    optimizer = optimizer_from_keras({"class_name": "Adam", "config": {**config, "clipnorm": 1.0}}, params())
    assert optimizer.defaults["lr"] == Keras2Decay(float(np.float32(0.01)), 1e-6)
    assert optimizer.defaults["eps"] == 1e-7
    assert optimizer.defaults["betas"] == (float(np.float32(0.9)), float(np.float32(0.999)))
    assert (optimizer.defaults["clipnorm"], optimizer.defaults["global_clipnorm"]) == (None, 1.0)
    adagrad = optimizer_from_keras({"class_name": "Adagrad", "config": {"lr": 0.01, "decay": 0.0}}, params())
    assert adagrad.defaults["initial_accumulator_value"] == 0.0


@pytest.mark.parametrize("name", ["adam", "ADAM", "Adam", "Custom>Adam"])
def test_names_in_any_case(name):
    optimizer = optimizer_from_keras({"class_name": name, "config": {}}, params())
    assert type(optimizer) is optimizers.Adam
    assert optimizer.defaults == optimizers.Adam(params()).defaults


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "Lion",
            {},
            "No optimizer 'Lion'. Known: Adagrad, Adam, AdamW, Adamax, Nadam, RMSprop, SGD",
        ),
        ("Addons>AdamW", {}, "No optimizer 'Addons>AdamW'"),
        ("SGD", {"momentun": 0.9}, r"SGD's config holds what is not known:\n  momentun \(nearest: momentum\)"),
        ("SGD", {"beta_1": 0.9}, "holds what is not known:\n  beta_1"),
        ("SGD", {"loss_scale_factor": 8.0}, "asks for what is not an update rule:\n  loss_scale_factor=8.0\n"),
        ("Adam", {"gradient_accumulation_steps": 4}, "add up gradients in your own loop"),
        ("Nadam", {"schedule_decay": 0.004}, "Keras 2's Nadam is another rule"),
        ("AdamW", {"decay": 0.0}, "Keras 2's AdamW is another rule"),
        ("AdamW", {"weight_decay": None}, "AdamW needs a number"),
        ("SGD", {"learning_rate": "fast"}, "must be a number or a serialized schedule. Received: 'fast'"),
        ("SGD", {"learning_rate": {"class_name": "Mine"}}, "No learning rate schedule 'Mine'"),
    ],
)
def test_what_is_not_known_is_refused(name, arguments, message):
    with pytest.raises(TransferError, match=message):
        optimizer_from_keras({"class_name": name, "config": arguments}, params())


def test_what_is_no_config_is_refused():
    with pytest.raises(TransferError, match=r"No optimizer None.*Expected a config with class_name and config"):
        optimizer_from_keras({}, params())
