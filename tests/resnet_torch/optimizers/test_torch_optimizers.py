"""Every rule against real Keras, on given gradients."""

from __future__ import annotations

import itertools

import keras_optimizers
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optimizer_steps import EXTRAS, RULES, WARMUP, as_float64, drawn, errors, ours, torch_steps
from sweeps import each_once, slow_but

from resnet_torch import optimizers
from weight_transfer.parity.tolerances import TOLERANCES

FLOAT64 = 1e-12
FLOAT32 = TOLERANCES["inference"]["float32"]
# tf_keras creates these but its rule without momentum leaves them without effect.
UNUSED_IN_TF_KERAS = {"SGD": {"momentum"}}


def base(rule, **more):
    name, own = RULES[rule]
    return name, {"learning_rate": 0.03, **own, **more}


def pairs(extras):
    """Each rule with each extra: in every run each rule alone, and each rule and each extra once more."""
    usual = [*((rule, "plain") for rule in RULES), *each_once([*RULES], [*extras])]
    return slow_but(usual, itertools.product(RULES, extras))


@pytest.mark.parametrize(("rule", "extra"), pairs(EXTRAS))
def test_float64_is_keras(rule, extra, keras_side):
    name, arguments = base(rule, **EXTRAS[extra])
    data = drawn()
    expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float64")
    actual = ours(name, arguments, *data)
    assert actual["slots"].keys() == expected["slots"].keys()
    found = errors(actual, expected)
    assert max(found.values()) <= FLOAT64, found


@pytest.mark.parametrize("rule", slow_but(("SGD nesterov", "RMSprop both", "Adam amsgrad"), RULES))
def test_float32_is_as_near_the_truth_as_keras_s_float32(rule, keras_side):
    """How far float32 ends up from float64 is the machine's: its vector units choose the order of the sums."""
    everything = {"weight_decay": 0.05, "use_ema": True, "ema_momentum": 0.9, "learning_rate": WARMUP}
    data = drawn(dtype="float32")
    for extra in ({}, {**everything, "clipnorm": 1.3}, {**everything, "global_clipnorm": 2.0}, {"clipvalue": 0.4}):
        name, arguments = base(rule, **extra)
        # The rate stays rounded to float32, as both round it: the truth is the same rule in exact arithmetic.
        truth = keras_side(keras_optimizers.keras3, name, arguments, *as_float64(*data))
        own = errors(keras_side(keras_optimizers.keras3, name, arguments, *data), truth)
        found = errors(ours(name, arguments, *data), truth)
        assert found.keys() == own.keys()
        for key, error in found.items():
            assert error <= FLOAT32.limit(own[key], at_the_logits=True), (extra, key, error, own[key])


@pytest.mark.parametrize("rule", RULES)
def test_a_float32_floatx_rounds_the_rate_of_float64_weights(rule, keras_side):
    name, arguments = base(rule, weight_decay=0.05)
    data = drawn()
    expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float32")
    rounded = {**arguments, "learning_rate": float(np.float32(0.03))}
    assert max(errors(ours(name, rounded, *data), expected).values()) <= FLOAT64
    assert errors(ours(name, arguments, *data), expected)["weights"] > 1e-10


# In float64 alone: tf_keras keeps Nadam's product from rounded betas, and an exact first accumulator.
TF_KERAS = {"Nadam": 1e-8, "Adagrad": 1e-7}


OF_TF_KERAS = ("plain", "clipnorm", "global_clipnorm", "clipvalue", "weight_decay", "schedule")


@pytest.mark.parametrize(("rule", "extra"), pairs(OF_TF_KERAS))
def test_tf_keras_has_the_same_rules(rule, extra, keras_side):
    name, arguments = base(rule, **EXTRAS[extra])
    data = drawn()
    expected = keras_side(keras_optimizers.tf_keras, name, arguments, *data)
    if extra != "schedule":
        arguments = {**arguments, "learning_rate": float(np.float32(0.03))}
    actual = ours(name, arguments, *data)
    assert expected["slots"].keys() - actual["slots"].keys() <= UNUSED_IN_TF_KERAS.get(name, set())
    found = errors(actual, expected)
    assert max(found.values()) <= TF_KERAS.get(name, FLOAT64), found


def test_tf_keras_averages_from_before_the_first_step(keras_side):
    name, arguments = base("Adam", **EXTRAS["ema"])
    data = drawn()
    expected = keras_side(keras_optimizers.tf_keras, name, arguments, *data)
    rounded = {**arguments, "learning_rate": float(np.float32(0.03))}
    assert max(errors(ours(name, {**rounded, "ema_rule": "tf_keras"}, *data), expected).values()) <= FLOAT64
    assert errors(ours(name, rounded, *data), expected)["average"] > 1e-4


@pytest.mark.parametrize("rule", ["SGD nesterov", "RMSprop both", "Adam amsgrad", "Nadam"])
def test_a_step_as_one_graph_is_the_same(rule, keras_side):
    name, arguments = base(rule, weight_decay=0.05, global_clipnorm=2.0, use_ema=True)
    data = drawn()
    expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float64", graph=True)
    assert max(errors(ours(name, arguments, *data), expected).values()) <= FLOAT64


@pytest.mark.parametrize("rule", ["SGD momentum", "Adam", "Nadam", "Adagrad"])
def test_variables_without_a_gradient_wait_while_the_counter_goes_on(rule, keras_side):
    name, arguments = base(rule, weight_decay=0.05, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=5)
    weights, gradients = drawn(num_steps=12)
    for step in (2, 3, 4, 8):
        gradients[step][1] = None
    expected = keras_side(keras_optimizers.keras3, name, arguments, weights, gradients, floatx="float64")
    assert max(errors(ours(name, arguments, weights, gradients), expected).values()) <= FLOAT64


def test_excluded_names_keep_their_weights_undecayed(keras_side):
    name, arguments = base("AdamW", weight_decay=0.3)
    data = drawn()
    expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float64", exclude=["w0", "[2-9]"])

    def make(params, names=("w0", "[2-9]")):
        named = [(f"w{i}", param) for i, param in enumerate(params)]
        optimizer = optimizers.AdamW(named, lr=0.03, weight_decay=0.3)
        optimizer.exclude_from_weight_decay(names=names)
        return optimizer

    assert max(errors(torch_steps(make, *data), expected).values()) <= FLOAT64
    assert errors(torch_steps(lambda params: make(params, ["w0"]), *data), expected)["weights"] > 1e-3


CLIPPED = ("plain", "clipnorm", "global_clipnorm", "clipvalue")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("rule", "extra"), slow_but(each_once([*RULES], CLIPPED), itertools.product(RULES, CLIPPED)))
def test_what_is_not_finite_spreads_as_in_keras(rule, extra, value, keras_side):
    name, arguments = base(rule, **EXTRAS[extra])
    weights, gradients = drawn(num_steps=4, shapes=((3, 11), (5,)))
    gradients[1][0][1, 2] = value
    expected = keras_side(keras_optimizers.keras3, name, arguments, weights, gradients, floatx="float64")
    actual = ours(name, arguments, weights, gradients)
    for one, other in zip(actual["weights"], expected["weights"], strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10)
    assert not np.isfinite(actual["weights"][-1][0]).all() or (extra == "clipvalue" and value == np.inf)


OFTEN = st.floats(0.3, 0.9999)
HYPERPARAMETERS = {
    "SGD": {"momentum": st.sampled_from([0.0, 0.5, 0.9, 1.0]) | OFTEN, "nesterov": st.booleans()},
    "RMSprop": {"rho": OFTEN, "momentum": st.just(0.0) | OFTEN, "epsilon": st.floats(1e-8, 0.1)},
    "Adam": {"beta_1": OFTEN, "beta_2": OFTEN, "epsilon": st.floats(1e-9, 1.0), "amsgrad": st.booleans()},
    "Adamax": {"beta_1": OFTEN, "beta_2": OFTEN, "epsilon": st.floats(1e-9, 1.0)},
    "Nadam": {"beta_1": OFTEN, "beta_2": OFTEN, "epsilon": st.floats(1e-9, 1.0)},
    "Adagrad": {"initial_accumulator_value": st.floats(0.0, 2.0), "epsilon": st.floats(1e-9, 0.1)},
}


@st.composite
def optimizer_and_gradients(draw):
    name = draw(st.sampled_from(sorted(HYPERPARAMETERS)))
    arguments = {key: draw(values) for key, values in HYPERPARAMETERS[name].items()}
    arguments["learning_rate"] = draw(st.floats(1e-5, 1.0))
    clipping = draw(st.sampled_from([None, "clipnorm", "global_clipnorm", "clipvalue"]))
    if clipping:
        arguments[clipping] = draw(st.floats(1e-3, 10.0))
    arguments["weight_decay"] = draw(st.none() | st.floats(0.0, 0.5))
    if draw(st.booleans()):
        arguments |= {"use_ema": True, "ema_momentum": draw(st.floats(0.0, 1.0))}
        arguments["ema_overwrite_frequency"] = draw(st.none() | st.integers(1, 5))
    shapes = draw(st.lists(st.sampled_from([(), (1,), (17,), (2, 3), (3, 3, 2, 5)]), min_size=1, max_size=3))
    seed, scale = draw(st.integers(0, 2**31)), draw(st.sampled_from([1e-4, 1.0, 100.0]))
    return name, arguments, drawn(seed, draw(st.integers(1, 8)), shapes=tuple(shapes), scale=scale)


def test_any_hyperparameters(keras_side):
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(optimizer_and_gradients())
    def check(drawing):
        name, arguments, data = drawing
        expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float64")
        found = errors(ours(name, arguments, *data), expected)
        assert max(found.values()) <= FLOAT64, found

    check()


def exactly(number, value):
    return number(value)


PLANTED = {
    "SGD momentum": ("sgd", {}),
    "Adam": ("adam", {}),
    "Adamax": ("adamax", {}),
    "Nadam": ("nadam", {}),
    "Adagrad": ("keras_optimizer", {"weight_decay": 0.05}),  # the decay
}


@pytest.mark.parametrize("rule", PLANTED)
def test_without_keras_detour_through_float32_it_shows(rule, keras_side, monkeypatch):
    module, more = PLANTED[rule]
    name, arguments = base(rule, **more)
    data = drawn()
    expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float64")
    monkeypatch.setattr(f"resnet_torch.optimizers.{module}.through_float32", exactly)
    assert errors(ours(name, arguments, *data), expected)["weights"] > 1e-10


def test_the_first_accumulator_passes_through_float32(keras_side):
    name, arguments = base("Adagrad")
    weights, gradients = drawn(num_steps=1, scale=1e-8)
    expected = keras_side(keras_optimizers.keras3, name, arguments, weights, gradients, floatx="float64")
    actual = ours(name, arguments, weights, gradients)
    assert errors(actual, expected)["accumulator"] <= FLOAT64
    assert actual["slots"]["accumulator"][0][0].flat[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_keras_casts_a_float_through_float32(keras_side):
    assert keras_side(keras_optimizers.cast, 0.9) == float(np.float32(0.9)) != 0.9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_of_any_memory_order(dtype, amsgrad):
    def run(layout, grad_layout, dtype=dtype):
        weights, gradients = drawn(num_steps=5, shapes=((4, 3, 5, 5), (6,)))
        kernel, bias = (torch.tensor(value, dtype=dtype) for value in weights)
        params = [kernel.to(memory_format=layout).requires_grad_(), bias.requires_grad_()]
        optimizer = optimizers.Adam(params, lr=0.03, amsgrad=amsgrad)
        for step in gradients:
            params[0].grad, params[1].grad = (torch.tensor(grad, dtype=dtype) for grad in step)
            params[0].grad = params[0].grad.to(memory_format=grad_layout)
            optimizer.step()
        return [param.detach() for param in params]

    plain = (torch.contiguous_format, torch.contiguous_format)
    truth = run(*plain, dtype=torch.float64)

    def error(layouts):
        return max(
            (found.double() - other).abs().max().item() for found, other in zip(run(*layouts), truth, strict=True)
        )

    limit = FLOAT64 if dtype == torch.float64 else FLOAT32.limit(error(plain), at_the_logits=True)
    for layouts in [
        (torch.channels_last, torch.channels_last),
        (torch.channels_last, torch.contiguous_format),
        (torch.contiguous_format, torch.channels_last),
    ]:
        assert error(layouts) <= limit


def test_both_of_adams_kernels_are_keras(keras_side, monkeypatch):
    monkeypatch.setattr("resnet_torch.optimizers.adam._aligned", lambda *_: False)
    for rule in ("Adam", "Adam amsgrad"):
        name, arguments = base(rule)
        data = drawn()
        expected = keras_side(keras_optimizers.keras3, name, arguments, *data, floatx="float64")
        assert max(errors(ours(name, arguments, *data), expected).values()) <= FLOAT64
