"""docs/training.md is true: its examples run, and its loop is Keras's ``fit``."""

from __future__ import annotations

import re
from pathlib import Path

import keras_fit
import numpy as np
import pytest
import torch
from optimizer_states import written

from resnet_torch import load_model, save_converted
from resnet_torch.optimizers import load_optimizer
from weight_transfer import convert
from weight_transfer.weight_mapping import mapping

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "training.md").read_text()
LOOP, CLASSIFIER, HEAD, HANDOVER = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def run(code):
    found = {}
    exec(compile(code, "docs/training.md", "exec"), found)
    return found


def test_the_loop_is_keras_fit(keras_side, tmp_path, monkeypatch):
    expected = keras_side(keras_fit.fit, tmp_path)
    monkeypatch.chdir(tmp_path)
    found = run(LOOP)
    history = expected["history"]
    assert 4 < len(history["loss"]) < 12, "neither stopped nor reduced: the example shows nothing"
    assert len(set(history["learning_rate"])) > 1
    for name in ("loss", "val_loss", "learning_rate"):
        assert [logs[name] for logs in found["history"]] == pytest.approx(history[name], rel=1e-6), name
    state = found["model"].state_dict()
    for row in mapping(found["model"].network):
        weight = expected["weights"][row.keras]
        actual = row.to_keras(state[row.torch].numpy())
        assert np.abs(actual - weight).max() <= 1e-6 * np.abs(weight).max(), row.keras
    assert load_model("best.safetensors").state_dict().keys() == state.keys()


def test_a_new_classifier(tmp_path):
    found = run(CLASSIFIER)
    model = found["model"]
    assert not found["penalty"].weights
    assert not model.head.fc_final.bias.any()
    assert {name.partition(".")[0] for name, one in model.named_parameters() if one.requires_grad} == {"head"}
    save_converted(model, tmp_path / "port.safetensors")
    assert load_model(tmp_path / "port.safetensors").network.resnet.head.classes == 10


def test_a_new_head():
    found = run(HEAD)
    assert not found["penalty"].weights
    assert not found["model"].head[2].bias.any()


def test_the_optimizer_goes_across(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "resnet50.keras")
    convert("resnet50.keras", "resnet50.safetensors", with_optimizer=True)
    found = run(HANDOVER)
    assert found["optimizer"].param_groups[0]["iterations"] == 7
    again = load_optimizer("back.keras", load_model("back.keras"))
    for one, other in zip(again.param_groups[0]["params"], found["optimizer"].param_groups[0]["params"], strict=True):
        assert torch.equal(again.state[one]["momentum"], found["optimizer"].state[other]["momentum"])
