"""The recipe: the tutorial's defaults, what cannot be, optimizers as Keras writes them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from resnet_torch.schedules import SCHEDULE_CLASSES
from weight_transfer.errors import TransferError
from weight_transfer.training import Recipe

TUTORIAL = Recipe(data="x.npz", output="run")


def recipe(**more) -> Recipe:
    return dataclasses.replace(TUTORIAL, **more)


def test_defaults_are_the_tutorials():
    assert TUTORIAL.optimizer_spec().to_config() == {"class_name": "Adam", "config": {"learning_rate": 1e-3}}
    assert (TUTORIAL.batch_size, TUTORIAL.epochs, TUTORIAL.preprocessing, TUTORIAL.split_seed) == (
        32,
        30,
        None,
        2021,
    )
    assert TUTORIAL.reduce_lr == {
        "monitor": "val_loss", "factor": 0.2, "patience": 3, "min_delta": 1e-4, "cooldown": 0, "min_lr": 0.0
    }  # fmt: skip
    assert TUTORIAL.early_stopping == {"monitor": "val_loss", "patience": 10, "restore_best_weights": False}


def test_json_brings_back_the_same_recipe():
    full = recipe(size=(96, 128), freeze=("stem", "stage2"), unfreeze_at=3, schedule="CosineDecay(decay_steps=10)")
    assert Recipe.from_dict(json.loads(full.to_json())) == full


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("adam", {"class_name": "Adam", "config": {}}),
        ("keras.optimizers.SGD(momentum=0.9, nesterov=True)", {"momentum": 0.9, "nesterov": True}),
        ("AdamW(weight_decay=4e-3, clipnorm=1.0)", {"weight_decay": 4e-3, "clipnorm": 1.0}),
        ("rmsprop(rho=0.8, use_ema=True, ema_momentum=0.9)", {"rho": 0.8, "use_ema": True, "ema_momentum": 0.9}),
    ],
)
def test_optimizers_as_keras_writes_them(text, config):
    found = recipe(optimizer=text, learning_rate=0.01).optimizer_spec().to_config()
    assert found["config"] == {"learning_rate": 0.01, **config.get("config", config)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adamm", r"No optimizer 'adamm' \(nearest: adam\). Known: Adagrad, Adam, AdamW, Adamax, Nadam, RMSprop, SGD"),
        ("Lion", r"No optimizer 'Lion'. Known: Adagrad"),
        (
            "SGD(momentun=0.9)",
            r"SGD: it has no argument momentun \(nearest: momentum\). It takes: \w+, momentum, nesterov",
        ),
        ("Adam(learning_rate=0.1)", "say learning_rate by --learning-rate"),
        ("SGD(0.1)", "a name with named arguments that are numbers"),
        ("SGD(momentum=open('x'))", "a name with named arguments that are numbers"),
        ("__import__('os').system('true')", "a name with named arguments"),
        ("", "a name with named arguments"),
        ("Adam(epsilon=-1)", "Adam: epsilon must be a number from 0, not -1. Received"),
        (
            "Adam(beta_1=1, amsgrad=3)",
            "beta_1 must be a number from 0 to below 1, not 1; amsgrad must be True or False",
        ),
        ("AdamW(weight_decay=1e999)", "weight_decay must be a number from 0, not inf"),
        ("SGD(momentum='x')", "momentum must be a number from 0 to 1, not 'x'"),
        ("SGD(use_ema=True, ema_overwrite_frequency=0.5)", "ema_overwrite_frequency must be a whole number from 1"),
        ("SGD(clipnorm=1, clipvalue=1)", "only one of clipnorm, clipvalue can be set"),
    ],
)
def test_other_optimizers_are_refused_by_name(text, message):
    with pytest.raises(TransferError, match=message):
        recipe(optimizer=text)


def test_a_whole_momentum_is_a_float_as_keras_asks():
    assert isinstance(recipe(optimizer="SGD(momentum=1)").optimizer_spec().arguments["momentum"], float)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("CosineDecay(decay_steps=100, alpha=0.1)", {"initial_learning_rate": 0.01, "decay_steps": 100, "alpha": 0.1}),
        ("PiecewiseConstantDecay(boundaries=[3], values=[1.0, 0.5])", {"boundaries": [3], "values": [1.0, 0.5]}),
        (
            "exponentialdecay(decay_steps=10, decay_rate=0.9, initial_learning_rate=0.5)",
            {"initial_learning_rate": 0.5, "decay_steps": 10, "decay_rate": 0.9},
        ),
    ],
)
def test_schedules_as_keras_writes_them(text, config):
    rate = recipe(schedule=text, learning_rate=0.01).optimizer_spec().to_config()["config"]["learning_rate"]
    assert rate["config"] == config
    assert rate["class_name"] in SCHEDULE_CLASSES
    assert recipe(schedule=text).reduce_lr is None  # Keras cannot lower a schedule's rate


def test_a_schedule_without_what_it_needs():
    with pytest.raises(TransferError, match=r"ExponentialDecay: it needs decay_rate. It takes: \w+, decay_steps"):
        recipe(schedule="ExponentialDecay(decay_steps=3)")


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(TransferError) as said:
        recipe(batch_size=0, depth=20, dropout=1.0, freeze=("stage2", "neck"), new_head=True, label_smoothing=-0.1)
    for part in (
        "batch_size must be at least 1. Received: 0",
        "depth must be one of (18, 34, 50, 101, 152). Received: 20",
        "dropout must be below 1. Received: 1.0",
        "freeze takes stem, stage2 and so on, head. Received: neck",
        "new_head needs a checkpoint",
        "label_smoothing must be at least 0. Received: -0.1",
    ):
        assert part in str(said.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"checkpoint": "a", "initial_weights": "b"}, "both name what to start from"),
        ({"unfreeze_at": 3}, "unfreeze_at needs something frozen"),
        ({"order": "a", "write_order": "b"}, "order reads an order file"),
        ({"size": (0, 3)}, "size must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
    ],
)
def test_what_cannot_be_together(more, message):
    with pytest.raises(TransferError, match=message):
        recipe(**more)


def test_phases():
    assert recipe(epochs=5).phases == ((1, 5, (), 1e-3),)
    frozen = recipe(epochs=5, freeze=("stem",), unfreeze_at=3, unfreeze_learning_rate=1e-4)
    assert frozen.phases == ((1, 2, ("stem",), 1e-3), (3, 5, (), 1e-4))
    assert recipe(epochs=5, freeze=("stem",)).phases == ((1, 5, ("stem",), 1e-3),)
    assert recipe(epochs=5, freeze=("stem",), unfreeze_at=1).phases == ((1, 5, (), 1e-3),)


def test_a_recipe_with_unknown_fields_is_refused():
    with pytest.raises(TransferError, match=r"batch_sise \(nearest: batch_size\)\n  missing: output"):
        Recipe.from_dict({"data": "x", "batch_sise": 3})
