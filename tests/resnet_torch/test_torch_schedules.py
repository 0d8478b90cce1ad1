"""Schedules against Keras's, bit for bit: called directly, in a graph, and as ``fit`` trains with them."""

from __future__ import annotations

import itertools

import keras_optimizers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweeps import each_once, slow_but

from resnet_torch import schedules
from resnet_torch.schedules import schedule_from_keras
from weight_transfer.errors import TransferError

STEPS = [*range(3000), 10**4, 10**6, 2**24 + 1, 10**9]
CASES = {
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 1000}),
    "cosine to alpha": ("CosineDecay", {"initial_learning_rate": 0.013, "decay_steps": 777, "alpha": 0.03}),
    "cosine after a warm-up": (
        "CosineDecay",
        {"initial_learning_rate": 0.01, "decay_steps": 1777, "warmup_target": 0.13, "warmup_steps": 123, "alpha": 0.1},
    ),
    "warm-up of no steps": (
        "CosineDecay",
        {"initial_learning_rate": 0.01, "decay_steps": 77, "warmup_target": 0.13, "warmup_steps": 0},
    ),
    "exponential": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 100, "decay_rate": 0.96}),
    "exponential below float32": (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 30, "decay_rate": 0.3},
    ),
    "exponential stairs": (
        "ExponentialDecay",
        {"initial_learning_rate": 0.07, "decay_steps": 41, "decay_rate": 0.96, "staircase": True},
    ),
    "piecewise": (
        "PiecewiseConstantDecay",
        {"boundaries": [100, 200.7, 300], "values": [0.1, 0.01, 0.003, 0.1]},
    ),
    "piecewise in two": ("PiecewiseConstantDecay", {"boundaries": [1000], "values": [0.3, 0.01]}),
    "linear": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 700}),
    "root": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 300, "power": 0.5}),
    "cubic": (
        "PolynomialDecay",
        {"initial_learning_rate": 0.3, "decay_steps": 1700, "end_learning_rate": 0.002, "power": 3.0},
    ),
    "in cycles": (
        "PolynomialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 300, "power": 2.3, "cycle": True},
    ),
    "cubic in cycles": (
        "PolynomialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 133, "power": 3.0, "cycle": True},
    ),
    "inverse time": ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 30, "decay_rate": 0.7}),
    "inverse time stairs": (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 41, "decay_rate": 0.7, "staircase": True},
    ),
}


def rates(name, arguments, steps=STEPS, in_fit=False):
    schedule = getattr(schedules, name)(**arguments, in_fit=in_fit)
    found = [schedule(step) for step in steps]
    assert {type(rate) for rate in found} == {float}
    return found


CALLS = (False, True)


@pytest.mark.parametrize(("case", "in_fit"), slow_but(each_once([*CASES], CALLS), itertools.product(CASES, CALLS)))
def test_every_bit_is_kerass(case, in_fit, keras_side):
    expected = keras_side(keras_optimizers.schedule, *CASES[case], STEPS, "keras", in_fit)
    assert rates(*CASES[case], in_fit=in_fit) == expected


@pytest.mark.parametrize("case", CASES)
def test_every_bit_is_tf_kerass(case, keras_side):
    steps = STEPS[::7]
    assert rates(*CASES[case], steps) == keras_side(keras_optimizers.schedule, *CASES[case], steps, "tf_keras", False)


@pytest.mark.parametrize("case", ["cosine to alpha", "exponential", "cubic", "inverse time", "cosine after a warm-up"])
def test_every_bit_is_that_of_fit(case, keras_side):
    expected = keras_side(keras_optimizers.rates_in_fit, *CASES[case], 400)
    assert rates(*CASES[case], range(400), in_fit=True) == expected
    if case != "cosine after a warm-up":
        assert rates(*CASES[case], range(400)) != expected


def test_the_last_bit_differs_between_a_call_and_fit():
    directly, in_fit = (np.array(rates(*CASES["cosine"], in_fit=chosen)) for chosen in (False, True))
    assert 0 < np.abs(directly - in_fit).max() < 1e-7


@st.composite
def schedules_drawn(draw):
    rate = st.floats(1e-6, 2.0)
    steps = st.integers(1, 2000)
    name = draw(st.sampled_from(sorted(schedules.SCHEDULE_CLASSES)))
    if name == "PiecewiseConstantDecay":
        boundaries = sorted(draw(st.sets(st.integers(0, 2000), min_size=1, max_size=5)))
        values = draw(st.lists(st.floats(1e-6, 2.0), min_size=len(boundaries) + 1, max_size=len(boundaries) + 1))
        return name, {"boundaries": boundaries, "values": values}
    arguments = {"initial_learning_rate": draw(rate), "decay_steps": draw(steps)}
    if name in ("ExponentialDecay", "InverseTimeDecay"):
        arguments |= {"decay_rate": draw(st.floats(0.01, 1.5)), "staircase": draw(st.booleans())}
    elif name == "PolynomialDecay":
        arguments |= {"end_learning_rate": draw(rate), "cycle": draw(st.booleans())}
        arguments["power"] = draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]) | st.floats(0.1, 4.0))
    else:
        arguments["alpha"] = draw(st.just(0.0) | st.floats(1e-6, 1.0))
        if draw(st.booleans()):
            arguments |= {"warmup_target": draw(rate), "warmup_steps": draw(st.integers(0, 500))}
    return name, arguments


def test_any_schedule(keras_side):
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(schedules_drawn(), st.lists(st.integers(0, 5000), min_size=1, max_size=60), st.booleans())
    def check(drawing, steps, in_fit):
        expected = keras_side(keras_optimizers.schedule, *drawing, steps, "keras", in_fit)
        assert rates(*drawing, steps, in_fit) == expected

    check()


@pytest.mark.parametrize("case", CASES)
def test_builds_from_what_keras_serializes(case, keras_side):
    name, arguments = CASES[case]
    config = keras_side(keras_optimizers.serialized, "SGD", {"learning_rate": (name, arguments)})
    serialized = config["config"]["learning_rate"]
    assert schedule_from_keras(serialized) == getattr(schedules, name)(**arguments)
    assert schedule_from_keras(serialized, in_fit=True).in_fit


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("CosineDecayRestarts", {}, "No learning rate schedule 'CosineDecayRestarts'. Known: CosineDecay, Exponential"),
        ("CosineDecay", {"slope": 1}, "CosineDecay does not take what its config holds: .*slope"),
        ("CosineDecay", {"initial_learning_rate": 1, "decay_steps": 9}, r"must be a float.*Received: \[1\]"),
        ("CosineDecay", {"initial_learning_rate": 1.0, "decay_steps": 0}, "decay_steps must be above 0. Received"),
        ("PiecewiseConstantDecay", {"boundaries": [1], "values": [1.0]}, "one value more than boundaries"),
        ("PiecewiseConstantDecay", {"boundaries": [], "values": [1.0]}, "Received: 1 values, 0 boundaries"),
        ("PiecewiseConstantDecay", {"boundaries": [1], "values": [1.0, 2]}, r"Received: \[2\]"),
    ],
)
def test_what_is_not_known_is_refused(name, arguments, message):
    with pytest.raises(TransferError, match=message):
        schedule_from_keras({"class_name": name, "config": arguments})


def test_keras_2s_decay():
    assert schedules.Keras2Decay(0.5, 0.25)(4) == 0.25
    assert schedules.Keras2Decay(schedules.ExponentialDecay(0.5, 1, 0.5), 0.25)(4) == 0.5**5 / 2


def test_without_the_c_librarys_cosine_all_but_the_last_place_is_right(monkeypatch):
    exact = np.array(rates(*CASES["cosine"]))
    monkeypatch.setattr(schedules.ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr(schedules, "_COSINE", schedules._c_library_cosine())
    assert schedules._COSINE is schedules.math.cos
    assert np.abs(np.array(rates(*CASES["cosine"])) - exact).max() < 1e-7
