"""`load_model`: a converted file and the Keras checkpoint itself give the same module, ready to use."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import safetensors.numpy
import torch

from resnet_torch import load_model
from weight_transfer import CheckpointError, Hints, TransferError, convert
from weight_transfer.description import generation_of, moving_variance_of
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import mapping


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_checkpoint_and_converted_file_give_the_same_module(dtype, tmp_path):
    architecture = checkpoints.small()
    arrays = checkpoints.arrays_of(architecture, dtype)
    source = checkpoints.legacy_weights(tmp_path / "w.h5", arrays)
    direct = load_model(source)
    converted = load_model(convert(source, tmp_path / "w.safetensors").output)
    for model in (direct, converted):
        assert not model.training
        state = model.state_dict()
        for row in mapping(resnet_graph(architecture)):
            np.testing.assert_array_equal(row.to_keras(state[row.torch].numpy()), arrays[row.keras])
        assert not any(tensor.is_meta for tensor in state.values())
    x = torch.randn(2, 3, 33, 33, dtype=getattr(torch, dtype))
    assert torch.equal(direct.predict(x), converted.predict(x))


def test_a_loaded_model_trains(tmp_path):
    model = load_model(checkpoints.checkpoint(tmp_path / "m.keras", checkpoints.small())).train()
    model(torch.randn(4, 3, 33, 33)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("3.15.1", "keras3"),
        ("2.21.0", "tf_keras"),
        ("2.4.0", "tf_keras"),
        ("2.3.1", "keras2"),
        ("2.3.0-tf", "tf_keras"),
        ("2.2.4", "keras2"),
        ("2.1.6-tf", "tf_keras"),
        ("2.1.4", "keras2"),  # from here on the Keras of several backends corrected the variance itself
        ("2.1.3", "tf_keras"),  # its first with TensorFlow's fused kernel
        ("2.1.2", "keras3"),
        ("1.2.2", "keras3"),
        (None, "keras3"),
    ],
)
def test_batch_norm_learns_as_the_keras_that_wrote_the_file(version, rule):
    assert moving_variance_of(version) == rule
    assert moving_variance_of(version, "tensorflow") == rule


def test_cntk_corrected_no_variance():
    assert moving_variance_of("2.2.4", "cntk") == "keras3"
    assert moving_variance_of("2.2.4", "theano") == "keras2"


@pytest.mark.parametrize(("version", "generation"), [("1.2.2", "tf_keras"), ("2.3.1", "tf_keras"), ("3.0", "keras3")])
def test_other_rules_go_by_the_generation(version, generation):
    assert generation_of(version) == generation


def test_the_rule_reaches_the_norms(tmp_path):
    model = load_model(checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small()))  # writes Keras 2's schema
    assert model.moving_variance == model.stem.bn_conv1.moving_variance == "tf_keras"


def test_hints_reach_the_identification(tmp_path):
    # It lists no layers without arrays, such as the padding of the stem's pool.
    source = checkpoints.legacy_weights(tmp_path / "w.h5", checkpoints.arrays_of(checkpoints.small("keras-2.2")))
    assert load_model(source, Hints(dialect="keras-2.1")).architecture.conventions.pool_padding == "none"
    with pytest.raises(TransferError, match="2 descriptions fit"):
        load_model(source)


def test_tensors_that_do_not_fit_the_architecture_are_refused(tmp_path):
    output = convert(checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small()), tmp_path / "m.safetensors").output
    with safetensors.safe_open(output, framework="np") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(output)
    del tensors["stem.conv.weight"]
    output.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))
    with pytest.raises(CheckpointError, match=r"Missing key\(s\) in state_dict: \"stem.conv.weight\""):
        load_model(output)


def test_a_file_that_is_nothing_is_refused(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty"):
        load_model(tmp_path / "x.h5")
