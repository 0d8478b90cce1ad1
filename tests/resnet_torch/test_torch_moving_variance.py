"""The moving variance after a step against a transcription of each Keras's rule, and its way through files."""

from __future__ import annotations

import checkpoints
import h5py
import numpy as np
import pytest
import torch

from resnet_torch import load_model, save_converted
from resnet_torch.layers.normalizations import BatchNorm
from resnet_torch.moving_variance import increment_factor
from weight_transfer import convert
from weight_transfer.converted import read_converted

MOMENTUM, EPS = 0.9, 1e-3


def keras_2(x: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Keras 2.2.4's step on TensorFlow 1, whose channels are last; ``x`` has them second.

    Source: keras/layers/normalization.py, call; keras/backend/tensorflow_backend.py, normalize_batch_in_training.
    """
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    sample_size = np.prod([x.shape[axis] for axis in axes])
    variance = x.var(axis=axes)
    if x.ndim == 4:  # tf.nn.fused_batch_norm, which gives the unbiased variance
        variance = variance * sample_size / (sample_size - 1)
    variance *= sample_size / (sample_size - (1.0 + EPS))
    return old * MOMENTUM + variance * (1 - MOMENTUM)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (2, 3, 4, 5), (2, 3, 2, 3, 2)], ids=len)
@pytest.mark.parametrize("memory", ["contiguous", "channels last"])
def test_keras_2_of_several_backends(shape, memory):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 2 + 1
    if memory == "channels last":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    norm = BatchNorm(3, fused=len(shape) in (4, 5), eps=EPS, momentum=1 - MOMENTUM, moving_variance="keras2").double()
    y = norm(x)
    expected = keras_2(x.numpy(), np.ones(3))
    np.testing.assert_allclose(norm.running_var.numpy(), expected, rtol=1e-13)
    plain = BatchNorm(3, eps=EPS, momentum=1 - MOMENTUM).double()
    assert torch.equal(y, plain(x))  # what is learned changes no output
    np.testing.assert_allclose(norm.running_mean.numpy(), plain.running_mean.numpy(), rtol=1e-13)


def test_one_value_a_channel_moves_by_nothing():
    norm = BatchNorm(3, momentum=1 - MOMENTUM, moving_variance="keras2")
    norm(torch.randn(1, 3))
    torch.testing.assert_close(norm.running_var, torch.full((3,), MOMENTUM))


@pytest.mark.parametrize(("increment", "factor"), [("biased", 1.0), ("unbiased", 8 / 7), ("keras2", 8 / (7 - EPS))])
def test_the_factor_is_the_same_of_a_number_and_of_a_tensor(increment, factor):
    assert increment_factor(increment, 8.0, EPS) == pytest.approx(factor, rel=1e-15)
    assert float(increment_factor(increment, torch.tensor(8.0, dtype=torch.float64), EPS)) == pytest.approx(
        factor, rel=1e-15
    )


def test_the_rule_goes_through_files(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    with h5py.File(source, "r+") as file:
        for group in (file, file["model_weights"]):
            group.attrs["keras_version"] = b"2.2.4"
    port = convert(source, tmp_path / "m.safetensors").output
    model = load_model(port)
    assert model.moving_variance == model.stem.bn_conv1.moving_variance == "keras2"
    save_converted(model, tmp_path / "again.safetensors")
    assert read_converted(tmp_path / "again.safetensors").description.moving_variance == "keras2"
    assert load_model(tmp_path / "again.safetensors").stem.bn_conv1.moving_variance == "keras2"
