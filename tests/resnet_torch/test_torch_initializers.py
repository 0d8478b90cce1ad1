"""Every initializer draws from Keras's distribution."""

from __future__ import annotations

import math

import keras_initializers
import numpy as np
import pytest
import torch
from torch import nn

from resnet_torch.initializers import (
    INITIALIZERS,
    TRUNCATED_STDDEV,
    _cut_normal,
    initialize,
    initializer_from_keras,
    variance_scaling,
)
from weight_transfer.errors import TransferError

# In Keras's layout: kernels of a convolution and of a dense layer, a bias.
SHAPES = [(3, 3, 24, 40), (120, 90), (9000,)]
RANDOM = [
    ("HeNormal", {}),
    ("HeUniform", {}),
    ("GlorotNormal", {}),
    ("GlorotUniform", {}),
    ("LecunNormal", {}),
    ("LecunUniform", {}),
    ("VarianceScaling", {}),
    ("VarianceScaling", {"scale": 3.0, "mode": "fan_out", "distribution": "uniform"}),
    ("VarianceScaling", {"scale": 0.5, "mode": "fan_avg", "distribution": "untruncated_normal"}),
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 1.0, "stddev": 0.2}),
    ("TruncatedNormal", {}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 0.3}),
    ("RandomUniform", {"minval": 0.1, "maxval": 0.4}),
]
FIXED = [("Zeros", {}), ("Ones", {}), ("Constant", {"value": 0.3})]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def in_torch(shape):
    """(kh, kw, c_in, c_out) and (in, out) as PyTorch has them."""
    return shape if len(shape) == 1 else (shape[-1], shape[-2], *shape[:-2])


def draw(fill, shape):
    weight = torch.empty(in_torch(shape))
    fill(weight)
    return weight.numpy()


def differences(actual, expected, ends):
    """What of two samples is further apart than chance lets it be: shape, deviation, mean, where they end."""
    actual, expected = np.sort(actual.ravel()).astype(float), np.sort(expected.ravel()).astype(float)
    both, spread = np.concatenate([actual, expected]), expected.std()
    shares = [np.searchsorted(sample, both, side="right") / len(sample) for sample in (actual, expected)]
    # Kolmogorov and Smirnov's: this much once in a thousand.
    found = {
        "shape": np.abs(shares[0] - shares[1]).max() > 1.95 * math.sqrt(1 / len(actual) + 1 / len(expected)),
        "deviation": abs(actual.std() / spread - 1) > 0.03,
        "mean": abs(actual.mean() - expected.mean()) > 0.05 * spread,
        "ends": ends and max(abs(actual[0] - expected[0]), abs(actual[-1] - expected[-1])) > 0.03 * spread,
    }
    return [name for name, seen in found.items() if seen]


@pytest.fixture(scope="module")
def of_keras(keras_side):
    return keras_side(keras_initializers.drawn, RANDOM, SHAPES), keras_side(keras_initializers.serialized, RANDOM)


@pytest.mark.parametrize("number", range(len(RANDOM)), ids=[name for name, _ in RANDOM])
def test_the_distribution_is_keras(number, of_keras):
    draws, configs = of_keras
    fill = initializer_from_keras(configs[number])
    ends = RANDOM[number][0] != "RandomNormal" and RANDOM[number][1].get("distribution") != "untruncated_normal"
    for shape, expected in zip(SHAPES, draws[number], strict=True):
        assert not differences(draw(fill, shape), expected, ends), shape


def not_cut(weight):
    nn.init.kaiming_normal_(weight)


def cut_without_correction(weight):
    _cut_normal(weight, 0.0, math.sqrt(2 / weight[0].numel()))


@pytest.mark.parametrize(
    ("mistake", "seen"),
    [(not_cut, "ends"), (cut_without_correction, "deviation"), (variance_scaling(2.0, "fan_out"), "shape")],
)
def test_another_distribution_is_seen(mistake, seen, of_keras):
    assert seen in differences(draw(mistake, SHAPES[0]), of_keras[0][0][0], True)


def test_what_is_not_random_is_equal(keras_side):
    shapes = [(3, 3, 4, 5), (4, 4), (4,)]
    draws = keras_side(keras_initializers.drawn, FIXED, shapes)
    for (name, arguments), expected in zip(FIXED, draws, strict=True):
        fill = initializer_from_keras({"class_name": name, "config": arguments})
        for shape, values in zip(shapes, expected, strict=True):
            np.testing.assert_array_equal(draw(fill, shape), values.reshape(in_torch(shape)))
    (expected,) = keras_side(keras_initializers.drawn, [("Identity", {"gain": 2.0})], [(3, 4)])
    np.testing.assert_array_equal(
        draw(initializer_from_keras({"class_name": "Identity", "config": {"gain": 2.0}}), (3, 4)).T, expected[0]
    )


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (4, 9), (9, 4)])
def test_orthogonal_is_orthogonal_the_same_way(shape, keras_side):
    (draws,) = keras_side(keras_initializers.drawn, [("Orthogonal", {"gain": 1.5})], [shape])
    keras_matrix = draws[0].reshape(-1, shape[-1]).T
    matrix = draw(initializer_from_keras({"class_name": "Orthogonal", "config": {"gain": 1.5}}), shape)
    matrix = matrix.reshape(shape[-1], -1)
    for values in (keras_matrix, matrix):
        products = values @ values.T if len(values) <= values.shape[1] else values.T @ values
        np.testing.assert_allclose(products, 2.25 * np.eye(len(products)), atol=1e-5)
    assert matrix.shape == keras_matrix.shape


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3), nn.Linear(3, 4)])
def test_bias_starts_at_zero(layer):
    assert initialize(layer, "glorot_uniform") is layer
    assert not layer.bias.any()
    assert initialize(layer, "HeNormal", {"class_name": "Constant", "config": {"value": -4.6}}).bias.eq(-4.6).all()


def test_a_layer_without_bias_is_fine():
    assert initialize(nn.Conv2d(3, 4, 3, bias=False), "he_normal").bias is None


def test_every_name_is_known_in_every_spelling():
    for name in INITIALIZERS:
        initializer_from_keras(name)
        initializer_from_keras(name.title().replace("_", ""))
    for name in ("normal", "uniform", "zero", "one", "OrthogonalInitializer"):
        initializer_from_keras(name)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("he_norml", r"No initializer 'he_norml' \(nearest: he_normal\)"),
        ({"class_name": "RandomNormal", "config": {"sigma": 1}}, "does not take what its config holds"),
        ({"class_name": "VarianceScaling", "config": {"mode": "fan"}}, "Received: scale=1.0, mode='fan'"),
    ],
)
def test_what_is_no_initializer_is_refused(config, message):
    with pytest.raises(TransferError, match=message):
        initializer_from_keras(config)


def test_the_deviation_of_a_cut_normal():
    # The variance of a standard normal cut off at c is 1 - 2 c phi(c) / (2 Phi(c) - 1).
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    assert math.sqrt(1 - 4 * density / math.erf(math.sqrt(2))) == pytest.approx(TRUNCATED_STDDEV, rel=1e-12)
