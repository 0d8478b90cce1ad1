"""Optimizers' configs: whose they are, and what is refused before anything is read."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import DECAY, EARLIER, OPTIMIZERS, OUTSIDE_ROOT, SHARED, TODAYS
from weight_transfer.optimizer.spec import OptimizerSpec, ScheduleSpec, spec_of_config


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
    assert spec_of_config({"class_name": "Adam", "config": arguments}).generation == generation


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_name": "SGD", "config": {"momentum": "0.9"}}, r"holds what is no number:\n  momentum='0.9'"),
        ({"class_name": "Adam", "config": {"beta_1": [0.9]}}, r"beta_1=\[0.9\]"),
        ({"class_name": "Adam", "config": {"decay": 0.0, "beta_1": 10**400}}, "beta_1=1000"),
        ({"class_name": "Adam", "config": {"learning_rate": float("inf")}}, "learning_rate=inf"),
        ({"class_name": "Adam", "config": {"lr": float("nan")}}, "lr=nan"),
        ({"class_name": "Adam", "config": {"\x1b[2J": 1}}, r"not known:\n  '\\x1b\[2J'"),
        ({"class_name": "Adam", "config": {"momentum": 0.9}}, "not known:\n  momentum"),
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
        ({"class_name": "Adam", "config": {"learning_rate": "fast"}}, "must be a number or a serialized schedule"),
        ({"class_name": "Adam", "config": {"adaptive_epsilon": True}}, "not an update rule:\n  adaptive_epsilon=True"),
        ({"class_name": "Nadam", "config": {"lr": 0.1, "schedule_decay": 0.004}}, "Keras 2's Nadam is another rule"),
    ],
)
def test_what_cannot_be_is_refused(config, message):
    with pytest.raises(TransferError, match=message):
        spec_of_config(config)


def test_a_config_in_keras_3s_names():
    found = spec_of_config({"class_name": "Adam", "config": {"lr": 0.25, "decay": 0.5, "epsilon": None, "clipnorm": 1}})
    expected = {"learning_rate": 0.25, "decay": 0.5, "epsilon": 1e-7, "global_clipnorm": 1}
    assert found == OptimizerSpec("Adam", expected, "keras2")
    rate = {"module": "keras.optimizers.schedules", "class_name": "CosineDecay", "config": {"decay_steps": 3}}
    config = {"class_name": "Custom>SGD", "config": {"learning_rate": rate, "jit_compile": True, "name": "SGD"}}
    schedule = ScheduleSpec("CosineDecay", {"decay_steps": 3})
    assert spec_of_config(config) == OptimizerSpec("SGD", {"learning_rate": schedule, "name": "SGD"}, "tf_keras")


def test_what_nobody_says_is_kerass():
    spec = OptimizerSpec("RMSprop", {"rho": 0.5})
    assert (spec.value("rho"), spec.value("epsilon"), spec.value("learning_rate")) == (0.5, 1e-7, 0.001)
    assert spec.value("ema_overwrite_frequency") is None
    assert OptimizerSpec("RMSprop", {}, "tf_keras").value("ema_overwrite_frequency") == 100
    never = OptimizerSpec("RMSprop", {"ema_overwrite_frequency": None}, "tf_keras")
    assert never.value("ema_overwrite_frequency") is None


def test_what_acts():
    spec = OptimizerSpec("SGD", {"name": "x", "momentum": 0.0, "nesterov": False, "clipnorm": 1.0, "ema_momentum": 0.5})
    assert str(spec.acting) == "SGD(clipnorm=1.0)"
    assert str(OptimizerSpec("Adam", {"beta_1": 0.0, "use_ema": True, "ema_momentum": 0.5}).acting) == (
        "Adam(beta_1=0.0, use_ema=True, ema_momentum=0.5)"
    )


@st.composite
def configs(draw: st.DrawFn) -> dict[str, object]:
    """What some Keras serializes an optimizer as."""
    generation = draw(st.sampled_from([*TODAYS, *EARLIER]))
    rows = [row for row in OPTIMIZERS.values() if row.keras2 is not None or generation in TODAYS]
    row = draw(st.sampled_from(rows))
    names = [*(argument.name for argument in row.own), *(SHARED if generation != "keras2" else ("clipnorm",))]
    flags = {argument.name for argument in row.arguments if argument.values.kind == "flag"}
    arguments: dict[str, object] = {}
    for name in draw(st.lists(st.sampled_from(names), unique=True)):
        arguments[name] = draw(st.booleans() if name in flags else st.floats(0, 1, allow_subnormal=False))
    if draw(st.booleans()):
        arguments["learning_rate"] = draw(st.floats(0, 1))
    marks = {"keras3": {}, "tf_keras": {"jit_compile": True}, "legacy": {"name": row.name, DECAY: 0.25}}
    return {"class_name": row.name, "config": {**arguments, **marks.get(generation, {DECAY: 0.0})}}


@given(configs())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_spec_is_the_same_when_it_is_written_and_read_again(config):
    spec = spec_of_config(config)
    assert spec_of_config(spec.to_config()) == spec
    assert OUTSIDE_ROOT not in spec.arguments or spec.generation in EARLIER
