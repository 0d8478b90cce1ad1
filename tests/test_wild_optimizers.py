"""Optimizers in real checkpoints from public repositories, written by Keras 2.1.4 to Keras 3."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shared_data import SHARED

from resnet_torch import load_model
from resnet_torch.optimizers import load_optimizer
from weight_transfer import MappingError, convert, identify, read_checkpoint
from weight_transfer.optimizer import layout
from weight_transfer.optimizer.from_keras import read_optimizer_state

WILD = SHARED / "wild"
# What each file holds: class, steps, weights with slots.
FILES = {
    "Hyperparticle__one-pixel-attack-keras__resnet.h5": ("SGD", 78_000, 130),
    "jayanthkmr__Thesis-work__cifar10_ResNet8v1_model.001.h5": ("Adam", 1_563, 34),
    "mlcommons__tiny__pretrainedResnet.h5": ("Adam", 781_500, 34),
    "mlcommons__tiny__e2a6032_pretrainedResnet.h5": ("Adam", 781_500, 34),
    "kSuroweczka__Arrhythmia__model_resnet.h5": ("Adam", 113_240, 12),
    "MohandHAMADOUCHE__Student_project_ResNet_vs_LSTM__resnet_model.keras": ("Adam", 21_900, 32),
}

pytestmark = pytest.mark.skipif(not WILD.is_dir(), reason="needs ../shared/data beside the checkout")


@pytest.mark.parametrize("name", FILES)
def test_every_optimizer_is_carried_over(name, tmp_path):
    class_name, steps, num_weights = FILES[name]
    state = convert(WILD / name, tmp_path / "port.safetensors", with_optimizer=True).optimizer
    assert (state.class_name, state.iterations) == (class_name, steps)
    assert {len(tensors) for tensors in state.slots.values()} == {num_weights}
    model = load_model(tmp_path / "port.safetensors").train()
    optimizer = load_optimizer(tmp_path / "port.safetensors", model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert optimizer.param_groups[0]["iterations"] == steps + 1


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("mlcommons", "kSu"))])
def test_names_and_order_say_the_same(name, monkeypatch):
    def slots():
        with read_checkpoint(WILD / name) as checkpoint:
            state = read_optimizer_state(checkpoint, identify(checkpoint))
            return {tensor.name: tensor.read() for tensor in state.tensors}

    named = slots()
    monkeypatch.setattr(layout, "_by_name", lambda *arguments: None)
    ordered = slots()
    assert named.keys() == ordered.keys()
    for key, array in named.items():
        np.testing.assert_array_equal(array, ordered[key])


def test_one_was_saved_without_its_slots(tmp_path):
    name = "CS-433__ml-project-2-nuclear-fusion__resnet.keras"
    with pytest.raises(MappingError, match="counted 864 steps and has no slots"):
        convert(WILD / name, tmp_path / "port.safetensors", with_optimizer=True)
    assert not list(tmp_path.iterdir())
