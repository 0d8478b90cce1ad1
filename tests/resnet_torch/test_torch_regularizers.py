"""Regularizers from Keras's config against real Keras: the penalty, its gradients, the epoch's loss."""

from __future__ import annotations

import dataclasses

import keras_regularizers
import numpy as np
import pytest
import torch
from torch import nn

from resnet_torch import load_model, regularizers
from resnet_torch.losses import CategoricalCrossentropy, EpochLoss
from resnet_torch.regularizers import Penalty, Regularization, regularization, regularizers_from_keras
from resnet_torch.saving import save_converted
from resnet_torch.wrappers import description_of_module, with_description
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.export import export
from weight_transfer.conversion.regularizers import penalties, penalty_from_keras
from weight_transfer.converted import read_converted
from weight_transfer.errors import TransferError
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.weight_mapping import mapping

FLOAT32 = TOLERANCES["inference"]["float32"].error
FLOAT64 = 1e-12


def channels_first(x):
    return torch.tensor(x).permute(0, 3, 1, 2)


def error(model, saved, penalty):
    """Largest difference of the penalty and its gradients from Keras's, in units of the larger."""
    model.zero_grad()
    model.eval()(channels_first(saved["x"]))
    found = penalty()
    found.backward()
    worst = abs(found.item() / saved["penalty"] - 1)
    rows = {row.keras: row for row in mapping(model.network)}
    parameters = dict(model.named_parameters())
    # How tf_keras calls what Keras 3 calls the kernel.
    gradients = {name.replace("depthwise/depthwise_", "depthwise/"): g for name, g in saved["gradients"].items()}
    assert set(rows) >= set(gradients)
    for name, expected in gradients.items():
        gradient = parameters[rows[name].torch].grad
        actual = np.zeros_like(expected) if gradient is None else rows[name].to_keras(gradient.numpy())
        worst = max(worst, np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-3))
    return worst


def with_frozen(model, *layers):
    for row in mapping(model.network):
        if row.keras.split("/")[0] in layers and not row.torch.endswith(("running_mean", "running_var")):
            model.get_parameter(row.torch).requires_grad = False
    return model


CASES = [
    ("keras", "native", "keras", ()),
    ("keras", "native", "h5", ("conv", "res2a_branch2a")),
    ("keras", "graph", "keras", ()),
    ("keras", "graph", "h5", ("conv", "norm")),
    ("keras", "headed", "keras", ()),
    ("tf_keras", "graph", "h5", ()),
    ("tf_keras", "graph", "keras", ("conv", "norm")),
]


@pytest.fixture(scope="module")
def saved(keras_side, tmp_path_factory):
    """Each case's model and what Keras computes of it, made once."""
    made = {}

    def get(case):
        if case not in made:
            library, kind, container, frozen = case
            path = tmp_path_factory.mktemp("regularized") / f"{kind}.{container}"
            made[case] = path, keras_side(keras_regularizers.regularized, library, kind, path, frozen)
        return made[case]

    return get


@pytest.mark.parametrize("case", CASES)
def test_penalty_and_gradients_are_keras(case, saved, tmp_path):
    path, expected = saved(case)
    model = with_frozen(load_model(path), *case[3])
    assert error(model, expected, regularization(model)) <= FLOAT64
    assert error(model, expected, regularizers_from_keras(path, model)) <= 2 * FLOAT64  # now there are two that watch
    converted = tmp_path / "port.safetensors"
    convert(path, converted)
    port = with_frozen(load_model(converted), *case[3])
    assert error(port, expected, regularization(port)) <= FLOAT64
    save_converted(port, tmp_path / "again.safetensors")
    again = with_frozen(load_model(tmp_path / "again.safetensors"), *case[3])
    assert error(again, expected, regularizers_from_keras(converted, torch.compile(again))) <= FLOAT64
    assert error(again, expected, regularization(again)) <= FLOAT64


@pytest.mark.parametrize(("library", "container"), [("keras", "keras"), ("keras", "h5"), ("tf_keras", "h5")])
def test_back_in_keras_it_is_regularized_as_before(library, container, saved, tmp_path, keras_side):
    path, _ = saved(CASES[0])
    port, back = tmp_path / "port.safetensors", tmp_path / f"back.{container}"
    convert(path, port)
    export(port, back, schema="keras2" if library == "tf_keras" else "keras3")
    expected = keras_side(keras_regularizers.penalty_of, "keras", path)
    assert keras_side(keras_regularizers.penalty_of, library, back) == pytest.approx(expected, rel=FLOAT32)
    found = description_of_module(load_model(back)).regularizers
    assert penalties(load_model(path).network, found) == penalties(
        load_model(path).network, read_converted(port).description.regularizers
    )


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[5]])
def test_the_epoch_s_loss_holds_it(case, saved):
    path, expected = saved(case)
    model = load_model(path)
    penalty, loss, epoch = regularization(model), CategoricalCrossentropy(), EpochLoss()
    for x, y in zip(channels_first(expected["x"]).split(2), torch.tensor(expected["y"]).split(2), strict=True):
        epoch.update(loss(model(x), y) + penalty(), len(x))
    assert epoch.result() == pytest.approx(expected["loss"], rel=FLOAT32)


def weight_decay_of_l2(weights):
    return {name: Penalty(one.l1, one.l2 / 2, one.orthogonal, one.mode) for name, one in weights.items()}


@pytest.mark.parametrize("mistake", ["half", "all layers", "frozen too", "not by the batch"])
def test_mistakes_are_seen(mistake, saved, monkeypatch):
    case = CASES[3] if mistake == "frozen too" else CASES[2]
    path, expected = saved(case)
    model = with_frozen(load_model(path), *case[3])
    penalty = regularization(model)
    if mistake == "half":
        penalty.weights = weight_decay_of_l2(penalty.weights)
    elif mistake == "all layers":
        penalty.weights = {name: Penalty(l2=1e-3) for name, _ in model.named_parameters()} | penalty.weights
    elif mistake == "frozen too":
        penalty.rule = "tf_keras"
    else:
        monkeypatch.setattr(regularizers, "len", lambda value: 1, raising=False)
    assert error(model, expected, penalty) > 1e-3


def test_a_native_resnet_s_regularizer_of_an_output_is_refused(saved):
    path, _ = saved(CASES[0])
    model = load_model(path)
    held = {"res2a_branch2a": {"activity_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}}}
    with_description(model, dataclasses.replace(description_of_module(model), regularizers=held))
    with pytest.raises(TransferError, match=r"with --as graph\. Layers with one:\n  res2a_branch2a"):
        regularization(model)


def test_a_replaced_head_has_none(saved):
    path, _ = saved(CASES[0])
    model = load_model(path)
    model.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(TransferError, match=r"parameters that the model has not:\n  head\.fc_01\.weight"):
        regularization(model)
    of_all = regularization(load_model(path)).weights
    assert regularization(model, replaced=["head"]).weights.keys() == of_all.keys() - {
        "head.fc_01.weight",
        "head.fc_final.weight",
    }
    with torch.no_grad():
        model.head[2].weight.fill_(1e6)
    assert regularization(model, replaced=["head"])().item() < 1e3


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_an_orthogonal_regularizer_is_keras(mode, keras_side):
    kernel = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    expected, gradient = keras_side(keras_regularizers.orthogonal, kernel, mode)
    linear = nn.Linear(5, 3)
    linear.weight = nn.Parameter(torch.tensor(kernel.T))
    found = Regularization(linear, {"weight": Penalty(orthogonal=0.2, mode=mode)})()
    found.backward()
    assert found.item() == pytest.approx(expected, rel=FLOAT32)
    assert np.abs(linear.weight.grad.numpy().T - gradient).max() <= FLOAT32 * np.abs(gradient).max()


def test_by_hand():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    penalty = Regularization(model, {"0.weight": Penalty(l2=0.5)}, {"1": Penalty(l1=0.25)})
    y = model(torch.ones(4, 2))
    assert penalty().item() == pytest.approx((0.5 * model[0].weight.square().sum() + 0.25 * y.abs().mean()).item())
    penalty().backward()
    assert torch.isfinite(model[0].weight.grad).all()
    assert model[1].weight.grad is not None
    penalty.remove()
    model(torch.ones(4, 2))
    assert penalty().item() == pytest.approx(0.5 * model[0].weight.square().sum().item())
    assert Regularization(model, {})().item() == 0
    with pytest.raises(TransferError, match=r"parameters that the model has not:\n  0\.weigth \(nearest: 0\.weight\)"):
        Regularization(model, {"0.weigth": Penalty(l2=1.0)})
    with pytest.raises(TransferError, match="submodules that the model has not:\n  2"):
        Regularization(model, {}, {"2": Penalty(l2=1.0)})
    with pytest.raises(TransferError, match=r"of a matrix\. Received: shape \(3,\)"):
        Regularization(model, {"0.bias": Penalty(orthogonal=1.0)})()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"class_name": "L2", "config": {"l2": 0.1}, "module": "keras.regularizers"}, Penalty(l2=0.1)),
        ({"class_name": "L1L2", "config": {"l1": 0.2, "l2": None}}, Penalty(l1=0.2)),
        ({"name": "WeightRegularizer", "l1": 0.0, "l2": 0.3}, Penalty(l2=0.3)),
        ({"class_name": "keras>L1", "config": {"l1": 1}}, Penalty(l1=1.0)),
        (
            {"class_name": "OrthogonalRegularizer", "config": {"factor": 0.1, "mode": "columns"}},
            Penalty(0, 0, 0.1, "columns"),
        ),
    ],
)
def test_every_keras_s_config_is_read(config, expected):
    assert penalty_from_keras(config) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_name": "Mine", "config": {}}, "conv, kernel_regularizer: no regularizer that is known"),
        ({"class_name": "Custom>L1", "config": {"l1": 1}}, "no regularizer that is known"),  # a user's own class
        ("l2", "no regularizer that is known: 'l2'"),
        ({"class_name": "L2", "config": {"l2": -1}}, "a factor must be a number from 0"),
        ({"class_name": "L2", "config": {"l2": float("nan")}}, "a factor must be a number from 0"),
        ({"class_name": "OrthogonalRegularizer", "config": {"mode": "both"}}, "mode must be rows or columns"),
    ],
)
def test_what_is_no_regularizer_is_refused(config, message):
    with pytest.raises(TransferError, match=message):
        penalty_from_keras(config, "conv, kernel_regularizer")
