"""At a kink, and where inputs are equal, each layer has the gradient that it has in Keras on TensorFlow."""

from __future__ import annotations

import keras_kinks
import numpy as np
import pytest
import torch
from keras_layers import LIBRARIES

from resnet_torch.layers import LAYER_MODULES
from weight_transfer.layer_types import LAYER_TYPES, Options
from weight_transfer.layer_types.activations import ACTIVATIONS

# 0 of either sign, and what slopes, thresholds and clipping of the layers below make of it.
POINTS = np.array(
    [-20, -15, -6, -3, -2.5, -2, -1, -0.5, -0.3, -0.0, 0.0, 0.1, 0.3, 0.5, 1, 2, 2.5, 3, 6, 15, 20], np.float64
).reshape(3, 7)
RELUS = [
    {},
    {"max_value": 6.0},
    {"max_value": 2.5},
    {"max_value": 0.0},
    {"negative_slope": 0.1},
    {"threshold": 1.0},
    {"max_value": 0.5, "threshold": 1.0},
    {"max_value": 3.0, "negative_slope": 0.25, "threshold": 0.5},
    {"max_value": 6.0, "negative_slope": 0.25},
    {"max_value": 6.0, "threshold": 0.5},
    {"max_value": 2.0, "negative_slope": 0.25, "threshold": 2.0},
]
LINES = [
    *(("Activation", {"activation": name}) for name in ACTIVATIONS),
    *(("ReLU", arguments) for arguments in RELUS),
    ("LeakyReLU", {}),
    ("ELU", {}),
    ("ELU", {"alpha": 0.5}),
    ("ThresholdedReLU", {"theta": 1.0}),
    ("ThresholdedReLU", {"theta": 0.0}),
    ("PReLU", {}),
    ("PReLU", {"shared_axes": [1]}),
]


def equals(*shape):
    """Whole numbers from -1 to 1: many are equal, many are 0."""
    return np.random.default_rng(len(shape)).integers(-1, 2, shape).astype(np.float64)


POOLS = [
    (f"MaxPooling{rank}D", {"pool_size": size, "strides": step, "padding": padding}, [equals(2, *(7, 6)[:rank], 3)])
    for rank in (1, 2)
    for size, step in ((2, 2), (3, 2), (3, 1))
    for padding in ("same", "valid")
]
CASES = [
    *((name, arguments, [POINTS]) for name, arguments in LINES),
    *((name, arguments, [np.stack([POINTS, -POINTS], -1)]) for name, arguments in LINES if name == "PReLU"),
    *((name, {}, [equals(2, 4, 3), equals(2, 4, 3)[::-1], equals(2, 1, 3)]) for name in ("Maximum", "Minimum")),
    *POOLS,
    ("MaxPooling3D", {"pool_size": 2, "padding": "same"}, [equals(2, 5, 4, 3, 2).astype(np.float32)]),
    *((f"Global{kind}Pooling2D", {}, [equals(2, 4, 3, 2)]) for kind in ("Max", "Average")),
]


def ours(library, class_name, arguments, inputs, channels_last):
    shapes = [x.shape[1:] for x in inputs]
    config = {**arguments, "trainable": True, "keras_version": "3.0.0" if library == "keras" else "2.15.0"}
    options = Options("layer", class_name, config, shapes, "channels_last")
    row = LAYER_TYPES[class_name]
    settings = row.settings(options)
    rows = list(row.weights(settings, shapes).values())
    start = {one.torch: torch.from_numpy(one.to_torch(np.full(one.shape, 0.3))) for one in rows}
    torch_shapes = {name: tuple(value.shape) for name, value in start.items()}
    module = LAYER_MODULES[class_name].build(settings, torch_shapes, shapes)
    module.to(torch.from_numpy(inputs[0]).dtype).load_state_dict(start)
    tensors = [moved(torch.from_numpy(x.copy())) for x in inputs]
    tensors = [(x if channels_last else x.contiguous()).requires_grad_() for x in tensors]
    output = module(*tensors)
    back = moved(torch.from_numpy(keras_kinks.weights(unmoved(output).shape))).to(output.dtype)
    found = torch.autograd.grad(output, tensors + list(module.parameters()), back)
    inside = [unmoved(gradient).numpy() for gradient in found[: len(tensors)]]
    return [
        *inside,
        *(one.to_keras(gradient.numpy()) for one, gradient in zip(rows, found[len(tensors) :], strict=True)),
    ]


def moved(x):
    return x.movedim(-1, 1) if x.dim() > 2 else x


def unmoved(x):
    return x.movedim(1, -1) if x.dim() > 2 else x


@pytest.fixture(scope="module")
def theirs(keras_side):
    return {library: keras_side(keras_kinks.gradients, library, CASES) for library in LIBRARIES}


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]} {CASES[number][1]}")
def test_gradients_at_kinks_are_those_of_keras(theirs, number, library, channels_last):
    expected = theirs[library][number]
    if expected is None:
        assert theirs[{"keras": "tf_keras", "tf_keras": "keras"}[library]][number] is not None
        return
    actual = ours(library, *CASES[number], channels_last)
    tolerance = 1e-12 if CASES[number][2][0].dtype == np.float64 else 1e-6
    for one, other in zip(actual, expected["gradients"], strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= tolerance * (1 + np.abs(other).max())
