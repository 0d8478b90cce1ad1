"""The loss of the training check: the one that a network's end asks for, with targets that both sides count out."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest

from weight_transfer import Head
from weight_transfer.parity.losses import loss_of, target
from weight_transfer.resnet.recipe import resnet_graph


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("softmax", "cross entropy"),
        ("sigmoid", "binary cross entropy"),
        ("linear", "mean square"),
        ("relu", "mean square"),
        (None, "mean square"),
    ],
)
def test_the_last_activation_decides(activation, loss):
    assert loss_of(activation) == loss


@pytest.mark.parametrize(
    ("head", "activation"),
    [
        (Head(classes=7), "softmax"),
        (Head(classes=7, activation="sigmoid"), "sigmoid"),
        (Head(classes=7, activation="linear"), None),
        (Head(classes=None), None),
        (Head(pooling="avg", classes=None), None),
    ],
)
def test_a_resnet_has_one_output(head, activation):
    assert resnet_graph(checkpoints.small(head=head)).final_activations == [activation]


def test_class_numbers_are_counted_out():
    found = target("cross entropy", (4, 3))
    assert found.tolist() == [0, 1, 2, 0]
    assert np.issubdtype(found.dtype, np.integer)


def test_every_place_of_a_map_has_a_class():
    assert target("cross entropy", (1, 2, 2, 3)).tolist() == [[[0, 1], [2, 0]]]


def test_one_class_alone_is_always_the_answer():
    assert target("cross entropy", (3, 1)).tolist() == [0, 0, 0]


def test_binary_targets_take_turns():
    found = target("binary cross entropy", (2, 3))
    assert found.tolist() == [[0, 1, 0], [1, 0, 1]]
    assert found.dtype == np.float64


def test_anything_else_is_to_become_zero():
    found = target("mean square", (2, 3, 3, 4))
    assert found.shape == (2, 3, 3, 4)
    assert not found.any()
