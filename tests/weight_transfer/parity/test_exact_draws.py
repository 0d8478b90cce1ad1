"""The numbers of exact runs: integers whose sums are exact, the same on every machine."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weight_transfer.parity.exact_runs import (
    EXACT_REGIMES,
    ArrayDraw,
    ExactRuns,
    Round,
    digest,
    drawn_array,
    drawn_probe,
    kind_of,
    terms,
)

SHAPE = (2, 15, 13, 8)
WIDE = [115121.0, 98135.0, 66731.0, 65839.0]
UNIT = [-4.75, -4.875, 3.375, -2.75]
KERNEL = [28781.0, 24534.0, 16683.0, 16460.0]


@pytest.mark.parametrize("regime", EXACT_REGIMES)
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("multiple", [1, 9, 49])
def test_probes_are_multiples_of_an_eighth_and_small(regime, nonnegative, multiple):
    values = drawn_probe("key", SHAPE, regime, nonnegative, multiple)
    assert values.shape == SHAPE
    assert np.array_equal(values * 8 / multiple, np.round(values * 8 / multiple))
    assert np.abs(values).max() <= 2.0**18 * (1 if regime != "unit" else 49)
    assert (values.min() >= 0) == nonnegative
    assert (values.max() < 0) == (regime == "negative" and not nonnegative)
    assert len(np.unique(values)) > 100


def test_unit_probes_meet_every_corner_of_an_activation():
    values = set(drawn_probe("key", (100_000,), "unit", False, 1).tolist())
    assert {-3.0, -2.5, -1.0, 0.0, 1.0, 2.5, 3.0, 6.0} <= values
    assert max(values) == 64


def test_real_probes_are_all_different():
    values = drawn_probe("key", (100_000,), "real", False, 1)
    assert len(np.unique(values)) == values.size
    assert -1 <= values.min() < -0.99 < 0.99 < values.max() < 1


@pytest.mark.parametrize("regime", EXACT_REGIMES)
@pytest.mark.parametrize("shape", [(7, 7, 3, 64), (1, 1, 2048, 512), (3, 3, 512, 512), (2048, 1000)])
def test_sums_over_a_kernel_are_exact(regime, shape):
    bits = 53 - 18 - 8 - math.ceil(math.log2(terms("kernel", shape)))
    kernel = drawn_array("key", ArrayDraw("a/kernel", shape, "kernel", min(16, bits)), regime)
    largest = np.abs(kernel).sum(axis=tuple(range(len(shape) - 1))).max()
    unit = np.abs(kernel).min()  # the smallest step, a power of two
    assert math.log2(unit).is_integer() or regime != "unit"
    assert largest / (unit if regime == "unit" else 1) * 2**19 * 8 < 2**53
    assert not np.any(kernel == 0)


@pytest.mark.parametrize("epsilon", [1e-3, 1.001e-5, 1e-5, 2e-5, 0.0])
@pytest.mark.parametrize("regime", EXACT_REGIMES)
def test_a_variance_with_its_epsilon_has_an_exact_root_and_with_another_has_not(epsilon, regime):
    values = drawn_array("key", ArrayDraw("bn/moving_variance", (64,), "variance", 16, epsilon), regime)
    roots = np.sqrt(values + epsilon)
    assert set(np.log2(roots).tolist()) <= {-1.0, 0.0, 1.0, 2.0, 3.0}
    if epsilon:
        assert np.any(np.sqrt(values + epsilon * (1 + 1e-9)) != roots)


def test_kinds_go_by_the_name_of_an_array():
    assert [kind_of(role) for role in ("kernel", "depthwise_kernel", "query/kernel")] == ["kernel"] * 3
    assert [kind_of(role) for role in ("bias", "beta", "moving_mean")] == ["offset"] * 3
    assert [kind_of(role) for role in ("gamma", "alpha", "moving_variance")] == ["scale", "scale", "variance"]


def test_the_numbers_are_the_same_on_every_machine():
    """A recording is compared where its numbers are drawn again: they may never change."""
    assert drawn_probe("key", (4,), "wide", False, 1).tolist() == WIDE
    assert drawn_probe("key", (4,), "unit", False, 1).tolist() == UNIT
    assert drawn_array("key", ArrayDraw("a/kernel", (2, 2), "kernel"), "wide").ravel().tolist() == KERNEL


def test_a_digest_tells_bits_and_shapes_apart_and_not_the_sign_of_zero():
    values = np.arange(6.0)
    assert digest(values) == digest(values.copy())
    assert digest(values) != digest(values.reshape(2, 3))
    assert digest(values) != digest(np.nextafter(values, 9))
    assert digest(np.array([0.0])) == digest(np.array([-0.0]))
    assert digest(np.ones((3, 4)).T) == digest(np.ones((4, 3)))


def test_rounds_and_seeds_draw_other_numbers():
    one, other = Round("integers 2x2, wide", "wide", ((1, 2, 2, 3),)), Round("integers 3x3, wide", "wide", ())
    runs = ExactRuns(1, (), {}, frozenset({"relu"}), (one, other))
    again = ExactRuns(2, (), {}, frozenset(), ())
    first = runs.probe(one, "conv", SHAPE)
    assert np.array_equal(first, runs.probe(one, "conv", SHAPE))
    for changed in (runs.probe(other, "conv", SHAPE), runs.probe(one, "bn", SHAPE), again.probe(one, "conv", SHAPE)):
        assert not np.array_equal(first, changed)
    assert runs.probe(one, "relu", SHAPE).min() >= 0 > first.min()
    assert runs.sizes[0] == "2x2"
