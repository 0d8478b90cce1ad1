"""The rules of Keras's own counters and orders."""

from __future__ import annotations

import pytest

from weight_transfer.checkpoint.layer_names import by_counter, layer_name, members, roles, snake_case


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("Conv2D", "conv2d"),
        ("BatchNormalization", "batch_normalization"),
        ("ReLU", "re_lu"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("Functional", "functional"),
        ("my_package>ResBlock", "res_block"),
    ],
)
def test_snake_case(class_name, expected):
    assert snake_case(class_name) == expected


def test_counters_run_through_one_model():
    classes = ("Conv2D", "Dense", "Conv2D", "Conv2D")
    model = {"config": {"layers": [{"class_name": name, "name": f"n{i}"} for i, name in enumerate(classes)]}}
    assert {group: layer_name(row) for group, row in by_counter(model).items()} == {
        "conv2d": "n0",
        "dense": "n1",
        "conv2d_1": "n2",
        "conv2d_2": "n3",
    }


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {"layers": 3}}, {"config": {"layers": [3, None]}}])
def test_a_malformed_model_has_no_members(config):
    assert members(config) == []


def test_a_layer_without_a_usable_name():
    assert layer_name({"config": {"name": 3}}) is None
    assert layer_name({"config": []}) is None


NORM = ("gamma", "beta", "moving_mean", "moving_variance")


@pytest.mark.parametrize(
    ("count", "inside", "expected"),
    [
        (4, None, NORM),
        (2, None, NORM[2:]),
        (3, {"scale": False}, NORM[1:]),
        (3, {"center": False}, (NORM[0], *NORM[2:])),
        (3, None, ()),
        (1, None, ()),
    ],
)
def test_roles_of_a_norm(count, inside, expected):
    assert roles("BatchNormalization", count, None if inside is None else {"config": inside}) == expected


def test_roles_of_others():
    assert roles("Dense", 1, None) == ("kernel", "bias")
    assert roles("LSTM", 3, None) == ()
