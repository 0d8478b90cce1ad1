"""`save_converted`: a live module as a converted file, and what must never be written."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import torch
from torch import nn

from resnet_torch import create_resnet, load_model, save_converted
from resnet_torch.wrappers import description_of_module
from weight_transfer import Hints, MappingError, TransferError, convert, export, read_checkpoint
from weight_transfer.conversion.export import to_keras
from weight_transfer.converted import read_converted

SMALL = {"depth": 18, "block_counts": (1, 1), "filters": ((3, 3), (4, 4)), "stem_filters": 3}


@pytest.fixture
def source(tmp_path):
    return checkpoints.checkpoint(tmp_path / "model.keras", checkpoints.small())


@pytest.fixture
def made():
    torch.manual_seed(1)
    return create_resnet((32, 32, 3), 5, **SMALL)


def _step(model):
    """One step of training: weights and statistics move."""
    model.train()
    out = model(torch.randn(4, 3, 33, 33))
    out.square().mean().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    return model


def test_untrained_it_is_the_file_that_convert_writes(source, tmp_path):
    converted = convert(source, tmp_path / "converted.safetensors").output
    save_converted(load_model(source), tmp_path / "saved.safetensors")
    one, two = read_converted(converted), read_converted(tmp_path / "saved.safetensors")
    assert (one.digest, one.origin, one.description.moving_variance) == (
        two.digest,
        two.origin,
        two.description.moving_variance,
    )


@pytest.mark.parametrize("import_as", ["native", "graph"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_a_trained_module_loads_as_it_was(source, import_as, dtype, tmp_path):
    model = _step(load_model(source, Hints(import_as=import_as))).to(dtype)
    save_converted(model, tmp_path / "trained.safetensors")
    again = load_model(tmp_path / "trained.safetensors")
    state = model.state_dict()
    assert {name: tensor.dtype for name, tensor in again.state_dict().items()} == {
        name: tensor.dtype for name, tensor in state.items()
    }
    for name, tensor in again.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, state[name]), name
    found = read_converted(tmp_path / "trained.safetensors")
    assert found.origin.source == "model.keras"
    assert found.origin == description_of_module(again).origin
    assert found.description.training is not None


def test_a_trained_resnet_goes_back_to_keras(source, tmp_path):
    model = _step(load_model(source))
    save_converted(model, tmp_path / "trained.safetensors")
    export(tmp_path / "trained.safetensors", tmp_path / "back.keras")
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    with read_checkpoint(tmp_path / "back.keras") as back:
        for name, array in to_keras(state, model.network).items():
            np.testing.assert_array_equal(back[name], array)


def test_a_network_made_here_needs_no_keras_file(made, tmp_path):
    save_converted(made, tmp_path / "made.safetensors")
    again = load_model(tmp_path / "made.safetensors")
    assert again.architecture == made.architecture
    assert read_converted(tmp_path / "made.safetensors").origin.source == ""


@pytest.mark.parametrize("rule", ["keras3", "tf_keras"])
def test_the_rule_of_the_batch_norms_is_kept(rule, tmp_path):
    model = create_resnet((32, 32, 3), 5, moving_variance=rule, **SMALL)
    save_converted(model, tmp_path / "made.safetensors")
    again = load_model(tmp_path / "made.safetensors")
    assert again.moving_variance == again.stem.bn_conv1.moving_variance == rule


def test_the_loading_of_images_and_another_origin_are_kept(made, source, tmp_path):
    origin = description_of_module(load_model(source)).origin
    save_converted(made, tmp_path / "made.safetensors", origin=origin, image_loading="opencv")
    found = read_converted(tmp_path / "made.safetensors")
    assert (found.origin, found.description.image_loading) == (origin, "opencv")


def test_layout_in_memory_and_wrappers_change_nothing(made, tmp_path):
    class Parallel(nn.Module):  # as torch.nn.parallel.DistributedDataParallel holds it
        def __init__(self, module):
            super().__init__()
            self.module = module

    save_converted(made, tmp_path / "plain.safetensors")
    save_converted(
        torch.compile(Parallel(made.to(memory_format=torch.channels_last))), tmp_path / "wrapped.safetensors"
    )
    assert (tmp_path / "plain.safetensors").read_bytes() == (tmp_path / "wrapped.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda model: model.stem.conv.weight.data.view(-1)[3].fill_(float("nan")), r"stem\.conv\.weight: not finite"),
        (lambda model: model.stem.bn_conv1.running_var.fill_(-1), r"stem\.bn_conv1\.running_var: negative"),
        (lambda model: setattr(model.head, "fc_final", nn.Linear(256, 7)), r"fc_final\.weight: expected shape"),
        (lambda model: model.add_module("more", nn.Linear(2, 2)), r"not part of it: more\.bias"),
        (lambda model: model.to(torch.float8_e5m2), r"torch\.float8_e5m2, which neither"),
        (lambda model: setattr(model.stem.bn_conv1, "moving_variance", "tf_keras"), "by different rules"),
    ],
)
def test_what_is_no_such_network_leaves_the_last_file_alone(plant, message, made, tmp_path):
    path = tmp_path / "made.safetensors"
    save_converted(made, path)
    before = path.read_bytes()
    plant(made)
    with pytest.raises(TransferError, match=message):
        save_converted(made, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_module_is_refused(tmp_path):
    with pytest.raises(TransferError, match="a Linear is not a network that a converted file describes"):
        save_converted(nn.Linear(2, 2), tmp_path / "x.safetensors")


def test_values_are_an_error_of_the_mapping(made, tmp_path):
    made.stem.conv.bias.data.fill_(float("inf"))
    with pytest.raises(MappingError, match="Nothing was written"):
        save_converted(made, tmp_path / "x.safetensors")
