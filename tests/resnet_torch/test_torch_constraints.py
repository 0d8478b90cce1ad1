"""How constraints come to weights, stay with them, and go back to Keras.

Their formulas are compared with Keras's own in ``test_torch_owner_steps``.
"""

from __future__ import annotations

import copy
import io

import keras_owner_steps
import numpy as np
import pytest
import torch
from owner_steps import errors
from torch import nn

from resnet_torch import load_model, save_converted, save_keras
from resnet_torch.constraints import KerasProjection, apply_constraints, constrain
from resnet_torch.optimizers import SGD
from weight_transfer.conversion.constraints import Constraint, constrained_weights, constraint_from_keras
from weight_transfer.conversion.export import export
from weight_transfer.errors import TransferError
from weight_transfer.layer_types import Weight

LOSS = "categorical_crossentropy"


@pytest.fixture(scope="module")
def owner(keras_side, tmp_path_factory):
    return keras_side(
        keras_owner_steps.owner, tmp_path_factory.mktemp("constrained"), "keras", "constrained_resnet", "float32"
    )


def largest_norm(model):
    """Along Keras's first axis, the kernel's height, of the first convolution; after one large step."""
    optimizer = SGD(model.parameters(), lr=10.0)
    model.train()(torch.ones(2, 3, 33, 33)).square().mean().backward()
    optimizer.step()
    return model.stem.conv.weight.detach().square().sum(2).sqrt().max().item()


def test_copies_of_a_model_keep_to_them(owner, tmp_path):
    model = load_model(owner.files["keras"])
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    save_converted(model, tmp_path / "saved.safetensors")
    copies = {
        "deepcopy": copy.deepcopy(model),
        "torch.save": torch.load(buffer, weights_only=False),
        "save_converted": load_model(tmp_path / "saved.safetensors"),
        "another dtype and back": copy.deepcopy(model).double().float(),
        "itself": model,
    }
    assert {name: largest_norm(one) < 0.301 for name, one in copies.items()} == dict.fromkeys(copies, True)
    free = load_model(owner.files["keras"])
    del free.stem.conv.weight.constraint
    assert largest_norm(free) > 0.31


def test_any_other_optimizer_keeps_to_them_by_one_call(owner):
    class Plain(torch.optim.SGD):
        def step(self, closure=None):
            done = super().step(closure)
            apply_constraints(self.param_groups[0]["params"])
            return done

    source, rate = owner.files["keras"], keras_owner_steps.RATE
    assert max(errors(source, owner, make=lambda params: Plain(params, lr=rate)).values()) <= 1e-4
    without = errors(source, owner, make=lambda params: torch.optim.SGD(params, lr=rate))
    assert without["weights"] > 1e-2


@pytest.mark.parametrize(("family", "container"), [("keras", "keras"), ("keras", "h5"), ("tf_keras", "h5")])
def test_back_in_keras_it_is_trained_as_before(family, container, owner, keras_side, tmp_path):
    port = tmp_path / "port.safetensors"
    model = load_model(owner.files["keras"])
    save_converted(model, port)
    schema = "keras2" if family == "tf_keras" else "keras3"
    exported = export(port, tmp_path / f"exported.{container}", schema=schema)
    save_keras(model, tmp_path / f"saved.{container}", schema=schema)
    for file in (exported, tmp_path / f"saved.{container}"):
        found = keras_side(keras_owner_steps.weights_after, family, file, owner, LOSS)
        for name, expected in owner.weights.items():
            if "variance" not in name or family == "keras":  # the two Kerases move it by two rules
                assert np.abs(found[name] - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-2), name


def test_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    constrain(model, {"0.weight": KerasProjection(Constraint("UnitNorm", axis=(1,))), "1.bias": torch.abs})
    with torch.no_grad():
        model[1].bias.fill_(-4)
    optimizer = SGD(model.parameters(), lr=1e-3)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.square().sum(1), torch.ones(3), rtol=0, atol=1e-4)  # epsilon 1e-7
    assert model[1].bias.item() == pytest.approx(4.004)
    assert copy.deepcopy(model)[0].weight.grad is None
    model.zero_grad()
    with torch.no_grad():
        model[0].weight.fill_(5)
    apply_constraints(model.parameters())  # without gradients, as in Keras
    assert model[0].weight.max() == 5
    with pytest.raises(TransferError, match=r"parameters that the model has not:\n  0\.weigth \(nearest: 0\.weight\)"):
        constrain(model, {"0.weigth": torch.abs})


def test_an_unknown_constraint_is_refused_when_its_weight_is_trained():
    held = {"fc": {"kernel_constraint": {"class_name": "mine>Own", "config": {}}}}
    found = constrained_weights(handmade(), held)["fc.weight"]
    model = nn.Linear(2, 3)
    constrain(model, {"weight": KerasProjection(found.constraint, found.weight)})
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.step()
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(TransferError, match=r"must keep to a constraint: fc, kernel_constraint: no constraint that is"):
        optimizer.step()
    model.weight.requires_grad = False
    model.weight.grad = None
    optimizer.step()


def handmade():
    from handmade_configs import keras_2, reads

    from weight_transfer.graph import read_graph

    config = keras_2(("in", "InputLayer", []), ("fc", "Dense", reads("in")), outputs=[("fc", 0, 0)])
    config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 2]
    config["config"]["layers"][1]["config"].update(units=3, activation="linear")
    return read_graph(config).checked()


def test_a_constraint_of_what_a_layer_has_not_is_refused():
    held = {"fc": {"alpha_constraint": "non_neg", "gamma_constraint": "non_neg"}}
    with pytest.raises(TransferError, match=r"weights that the network has not:\n  fc: alpha_constraint$"):
        constrained_weights(handmade(), held)


def test_axes_are_those_of_keras_s_layout():
    weight = Weight((3, 3, 2, 4), "weight", (2, 3, 0, 1), (8, 1, 3, 3))  # of a depthwise convolution
    array = np.random.default_rng(0).normal(size=weight.shape)
    found = KerasProjection(Constraint("UnitNorm", axis=(2,)), weight)(torch.from_numpy(weight.to_torch(array)))
    expected = array / (1e-7 + np.sqrt(np.square(array).sum(2, keepdims=True)))
    np.testing.assert_allclose(weight.to_keras(found.numpy()), expected, rtol=1e-14)
    everywhere = KerasProjection(Constraint("MaxNorm", max_value=2.0, axis=None))(torch.from_numpy(array))
    assert everywhere.square().sum().sqrt().item() == pytest.approx(2)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("non_neg", Constraint("NonNeg")),
        ({"class_name": "MaxNorm", "config": {"max_value": 3, "axis": [0, 1]}}, Constraint("MaxNorm", 0, 3, 1, (0, 1))),
        ({"name": "MaxNorm", "m": 4, "axis": 0}, Constraint("MaxNorm", max_value=4)),
        ({"class_name": "keras>UnitNorm", "config": {}}, Constraint("UnitNorm")),
        ({"class_name": "min_max_norm", "config": {"axis": None}}, Constraint("MinMaxNorm", axis=None)),
    ],
)  # fmt: skip
def test_every_keras_s_config_is_read(config, expected):
    assert constraint_from_keras(config) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_name": "RadialConstraint", "config": {}}, "conv, bias_constraint: no constraint that is known"),
        ({"class_name": "mine>NonNeg", "config": {}}, "no constraint that is known"),
        ({"class_name": "MaxNorm", "config": 3}, "no constraint that is known"),
        ({"class_name": "MaxNorm", "config": {"max_value": "2"}}, "expected numbers, and axes of the weight"),
        ({"class_name": "UnitNorm", "config": {"axis": 4}}, "expected numbers, and axes of the weight"),
        ({"class_name": "UnitNorm", "config": {"axis": "0"}}, "expected numbers, and axes of the weight"),
    ],
)
def test_what_is_no_constraint_is_refused(config, message):
    with pytest.raises(TransferError, match=message):
        constraint_from_keras(config, "conv, bias_constraint", rank=4)
