"""Files that version 0.1.0 converted from checkpoints of real Keras: they load as they did, and predict as Keras did.

They were written at commit a77a5f9; beside each, ``x`` as Keras takes it and the ``y`` that Keras gave for it (of the
one that was trained in PyTorch: that the port gave then). ``trained`` has its optimizer's state beside it, and of
``native``, taken back to Keras, there is what ``weight-transfer record`` wrote down.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_torch import load_model
from resnet_torch.optimizers import Adam, load_optimizer
from resnet_torch.saving import save_converted
from resnet_torch.testing import ParityWarning, assert_parity
from weight_transfer.converted import read_converted
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.state import read_state, state_beside
from weight_transfer.parity.recording import read_recording

FILES = sorted((Path(__file__).parents[1] / "data" / "converted_by_0.1.0").glob("*.npz"))


@pytest.mark.parametrize("recorded", FILES, ids=lambda path: path.stem)
def test_it_predicts_as_before_and_once_more_when_saved_again(recorded, tmp_path):
    expected = np.load(recorded)
    model = load_model(recorded.with_suffix(".safetensors"))
    images = torch.from_numpy(expected["x"]).permute(0, 3, 1, 2)
    assert np.abs(model.predict(images).numpy() - expected["y"]).max() <= 1e-5 * np.abs(expected["y"]).max()
    save_converted(model, tmp_path / "again.safetensors")
    assert torch.equal(load_model(tmp_path / "again.safetensors").predict(images), model.predict(images))


def test_what_it_says_beside_its_tensors_is_read():
    found = {path.stem: read_converted(path.with_suffix(".safetensors")).description for path in FILES}
    assert found["graph"].regularizers.keys() == {"conv2d_7"}
    assert found["graph"].training is None
    assert found["graph_trained_in_pytorch"].training.moving_variance == "keras3"
    assert {name: described.origin.source for name, described in found.items()} == {
        "graph": "graph.keras",
        "graph_trained_in_pytorch": "graph.keras",
        "native": "native.keras",
        "odd_names": "odd_names.keras",
        "own_head": "own_head.keras",
        "trained": "trained.keras",
    }


def test_the_optimizer_state_beside_it_is_read():
    model = load_model(FILES[0].parent / "trained.safetensors")
    state = FILES[0].parent / "trained.optimizer.safetensors"
    assert read_state(state).fingerprint == read_converted(FILES[0].parent / "trained.safetensors").fingerprint
    optimizer = load_optimizer(state, model)
    assert isinstance(optimizer, Adam)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_the_state_of_layers_whose_modules_had_other_names_is_read():
    """Version 0.1.0 named the modules of layers ``conv-1`` and ``conv.2`` otherwise, in both files."""
    weights = FILES[0].parent / "odd_names.safetensors"
    model = load_model(weights)
    optimizer = load_optimizer(weights, model)
    slots = {name: optimizer.state[parameter] for name, parameter in model.named_parameters()}
    modules = ("conv_1", "conv_2", "train_")
    assert slots.keys() == {f"{module}.{part}" for module in modules for part in ("weight", "bias")}
    assert all((slot["velocity"] > 0).any() and (slot["momentum"] != 0).any() for slot in slots.values())
    assert state_beside(weights) == weights.with_name("odd_names.optimizer.safetensors")
    with torch.no_grad():
        model.conv_1.weight.add_(1)
    with pytest.raises(TransferError, match="belongs to other weights than the model has now"):
        load_optimizer(weights, model)


def test_the_state_of_other_weights_is_told_from_its_own(tmp_path):
    for name in ("odd_names.optimizer.safetensors", "odd_names.safetensors"):
        shutil.copy(FILES[0].parent / name, tmp_path)
    weights = tmp_path / "odd_names.safetensors"
    converted = read_converted(weights)
    assert converted.renamed == {f"conv-1.{part}": f"conv_1.{part}" for part in ("weight", "bias")}
    assert read_state(state_beside(weights), converted).fingerprint == converted.fingerprint
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    converted = read_converted(weights)
    assert read_state(state_beside(weights), converted).fingerprint != converted.fingerprint


def test_the_recording_is_read_and_the_port_is_still_what_it_says():
    path = FILES[0].parent / "native.recording.safetensors"
    found = read_recording(path)
    assert (found.origin.source, found.origin.loaded_by) == ("native.keras", "keras 3.15.1 from the file")
    assert len(found.entries) == 243
    model = load_model(FILES[0].parent / "native.safetensors")
    with pytest.warns(ParityWarning, match="the recording, of an earlier version, does not say"):
        assert len(assert_parity(model, path, training=True).rows) == 163
    with torch.no_grad():
        next(model.parameters()).mul_(1 + 1e-3)
    with pytest.raises(AssertionError, match=r"conv \(Conv2d\) is the first that differs"):
        assert_parity(model, path)
