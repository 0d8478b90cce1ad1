"""Networks drawn at random over all layer families: what their owner gets from Keras, the port of the file gets.

Predictions, outputs and losses in training, gradients and moving statistics, of the owner's own model and not of a
recording, and every field of the file in the port's modules; for ``.keras`` and ``.h5``, with images in memory
channels first and channels last. Another sweep than the committed one:
``RANDOM_MODELS_SEED=7 pytest -m slow tests/resnet_torch/test_torch_random_models.py``.
"""

from __future__ import annotations

import copy
import os

import keras_random_models
import numpy as np
import pytest
import torch
from keras_layers import LIBRARIES
from sweeps import slow_but

from resnet_torch import load_model
from resnet_torch.changed_fields import changed_fields
from resnet_torch.regularizers import regularization
from weight_transfer import Hints
from weight_transfer.weight_mapping import mapping

FIRST = 1000 * int(os.environ.get("RANDOM_MODELS_SEED", "0"))
SOME, MANY, BATCH = 15, 150, 15  # networks of either Keras; those that one call builds
# Of the peak. float32: what either framework loses over a few layers; float64 says whether they compute the same.
TOLERANCES = {"float64": 1e-9, "float32": 2e-4}
# Of the largest gradient: one that cancels to 0 is no better than what it is a difference of.
LEAST_PEAK = {"float64": 1e-3, "float32": 0.1}
# tf_keras takes 1 - momentum in float32, whatever the layer's dtype.
# Source: tf_keras 2.21, layers/normalization/batch_normalization.py, _assign_moving_average.
MOVING_OF_TF_KERAS = 1e-7
GRAPH = Hints(import_as="graph")


def laid(x, channels_last):
    """A Keras array as PyTorch has it, in memory channels first or as Keras has it."""
    tensor = torch.from_numpy(x)
    if tensor.dim() < 3:
        return tensor
    return tensor.movedim(-1, 1) if channels_last else tensor.movedim(-1, 1).contiguous()


def listed(outputs):
    if isinstance(outputs, dict):
        return [outputs[key] for key in sorted(outputs)]
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def in_kerass_layout(x):
    return x.movedim(1, -1) if x.dim() > 2 else x


def trained_once(model, inputs):
    """One call in training: the outputs, the penalties, the gradients of their sum, and the arrays afterwards."""
    model = copy.deepcopy(model).train()
    penalty = regularization(model)
    outputs = [in_kerass_layout(y) for y in listed(model.finished(model(*inputs)))]
    total = penalty()
    counted = [(y * torch.from_numpy(keras_random_models.weights(y.shape)).to(y.dtype)).sum() for y in outputs]
    rows = {row.torch: row for row in mapping(model.network)}
    named = dict(model.named_parameters())
    trainable = {name: one for name, one in named.items() if one.requires_grad}
    wanted = list(trainable.values())  # None in a network whose every array is frozen, or that has no arrays.
    found = torch.autograd.grad(sum(counted) + total, wanted, allow_unused=True) if wanted else ()
    gradients = {
        rows[name].keras: rows[name].to_keras((torch.zeros_like(one) if gradient is None else gradient).numpy())
        for (name, one), gradient in zip(trainable.items(), found, strict=True)
    }
    after = {
        rows[name].keras: rows[name].to_keras(value.numpy())
        for name, value in model.state_dict().items()
        if name in rows
    }
    return [y.detach().numpy() for y in outputs], total.item(), gradients, after


def distance(actual, expected, least=0.0):
    """The largest difference, of the peak of what is expected or of ``least``."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), least, 1e-30))


def with_present_roles(named, known):
    """By the paths of the port: tf_keras calls the kernel of a DepthwiseConv2D otherwise."""
    return {path if path in known else path.replace("/depthwise_kernel", "/kernel"): one for path, one in named.items()}


def differences(path, answer):
    """What of a file's port is not what its owner has."""
    model = load_model(path, GRAPH)
    tolerance = TOLERANCES[answer["dtype"]]
    found = [f"{path.name}, {change}" for change in changed_fields(model)]

    def note(what, actual, expected, least=0.0, tolerance=tolerance):
        error = distance(actual, expected, least)
        if not error <= tolerance:
            found.append(f"{path.name}, {what}: {error:.1e}")

    for channels_last in (False, True):
        inputs = [laid(x, channels_last) for x in answer["inputs"]]
        where = "channels last" if channels_last else "channels first"
        predicted = [in_kerass_layout(y).numpy() for y in listed(model.predict(*inputs))]
        outputs, penalty, gradients, after = trained_once(model, inputs)
        for place, (one, other) in enumerate(zip(predicted, answer["predicted"], strict=True)):
            note(f"prediction {place}, {where}", one, other)
        for place, (one, other) in enumerate(zip(outputs, answer["trained"], strict=True)):
            note(f"output {place} in training, {where}", one, other)
        note(f"penalties, {where}", np.asarray(penalty), np.asarray(answer["penalty"]), 1e-3)
        theirs = with_present_roles(answer["gradients"], gradients)
        assert gradients.keys() == theirs.keys(), path
        least = LEAST_PEAK[answer["dtype"]] * max((np.abs(one).max(initial=0) for one in theirs.values()), default=0.0)
        for name, expected in theirs.items():
            note(f"gradient of {name}, {where}", gradients[name], expected, least)
        arrays = with_present_roles(answer["after"], after)
        for name, value in after.items():
            moves = "moving" in name and path.name.startswith("tf_keras")
            most = max(tolerance, MOVING_OF_TF_KERAS) if moves else tolerance
            note(f"{name} afterwards, {where}", value, arrays[name], tolerance=most)
    return found


def sweep(keras_side, folder, library, seeds):
    answers = []
    for first in range(0, len(seeds), BATCH):
        answers += keras_side(keras_random_models.answers, library, seeds[first : first + BATCH], folder)
    wrong = []
    for answer in answers:
        for suffix in (".keras", ".h5"):
            wrong += differences(folder / f"{library}-{answer['seed']}{suffix}", answer)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", slow_but(["tf_keras"], LIBRARIES))
def test_some_random_networks_are_what_their_owner_has(keras_side, tmp_path, library):
    sweep(keras_side, tmp_path, library, range(FIRST, FIRST + SOME))


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_many_random_networks_are_what_their_owner_has(keras_side, tmp_path, library):
    sweep(keras_side, tmp_path, library, range(FIRST + SOME, FIRST + SOME + MANY))
