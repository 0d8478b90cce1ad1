"""What a training is not begun with, and how it says so."""

from __future__ import annotations

import dataclasses
import errno
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from resnet_torch import create_resnet, save_converted
from resnet_torch.training import evaluate
from resnet_torch.training.cifar10 import READY, download_cifar10
from resnet_torch.training.network import built
from resnet_torch.training.summary import check_outputs, output_shapes
from weight_transfer.errors import ArchitectureError, CheckpointError, TransferError
from weight_transfer.training import RunFolder
from weight_transfer.training.starting_point import check_activation, read_network

NARROW = {"depth": 18, "stem_filters": 3, "filters": ((3, 3),), "block_counts": (1,)}


def test_another_activation_is_named(tmp_path):
    save_converted(create_resnet((32, 32, 3), 1, depth=18), tmp_path / "one.safetensors")
    with pytest.raises(
        ArchitectureError, match=r"one: ends in sigmoid. Expected a softmax over the classes, or logits"
    ):
        check_activation(read_network(tmp_path / "one.safetensors").network, "one")


def test_tensors_of_another_network_are_named(narrow):
    start = read_network(narrow)
    state = {"stem.extra.weight": np.zeros(1), **start.state}
    del state["head.fc_01.bias"]
    with pytest.raises(CheckpointError, match=r"missing: head.fc_01.bias\n  unexpected: stem.extra.weight"):
        built(dataclasses.replace(start, state=state), torch.float32)


def test_images_that_the_network_cannot_take():
    with pytest.raises(ArchitectureError, match=r"the network does not take images of 3 x 8 x 9 \(Exp.*one input"):
        output_shapes(nn.Conv1d(1, 1, 1), (8, 9))


@pytest.mark.parametrize("shapes", [{"": (3, 4, 4)}, {"": (10,)}, {}])
def test_outputs_must_be_one_number_per_class(shapes):
    with pytest.raises(ArchitectureError, match=r"here: its output is .*\. Expected \(3,\), as the data has classes"):
        check_outputs(shapes, 3, "here")


def test_evaluating_a_network_of_other_classes(recipe, tmp_path):
    save_converted(create_resnet((32, 32, 3), 7, **NARROW), tmp_path / "seven.safetensors")
    with pytest.raises(TransferError, match=r"seven.safetensors: its output is \(7,\). Expected \(3,\)"):
        evaluate(recipe(), tmp_path / "seven.safetensors", part="test")


@pytest.fixture
def torchvision(monkeypatch, tmp_path):
    """A torchvision whose CIFAR-10 is a folder of ours; None makes its loader fail."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = []

    def loader(images):
        def load(root, train, download):
            asked.append((Path(root), train, download))
            if images is None:
                raise RuntimeError("Error downloading cifar-10-python.tar.gz")
            Path(root).mkdir(exist_ok=True)
            return types.SimpleNamespace(data=images, targets=[0] * len(images))

        monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(CIFAR10=load))
        return asked

    return loader


def test_cifar10_is_downloaded_by_the_first_process(torchvision, tmp_path, monkeypatch):
    asked = torchvision(np.ones((4, 32, 32, 3), np.uint8))
    assert len(download_cifar10("train")) == 4
    monkeypatch.setenv("RANK", "1")
    assert download_cifar10("test").class_names[3] == "cat"
    assert asked == [(tmp_path / "datasets", True, True), (tmp_path / "datasets", False, False)]


def test_what_keeps_cifar10_away_is_said(torchvision, tmp_path, monkeypatch):
    torchvision(None)
    with pytest.raises(TransferError, match=r"CIFAR-10 cannot be downloaded \(Error downloading .* Name its archive"):
        download_cifar10("train")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("resnet_torch.training.cifar10.WAIT_S", 0.0)
    with pytest.raises(TransferError, match=f"{READY} did not appear"):
        download_cifar10("train")


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, TransferError), (errno.EPERM, PermissionError)])
def test_a_full_disk_is_said_whoever_notices(tmp_path, number, kind):
    from resnet_torch.training.run import _full_disk

    with pytest.raises(kind) as raised, _full_disk(RunFolder(tmp_path)):
        raise OSError(number, "No space left on device")
    if kind is TransferError:
        assert "No space left on device. The last checkpoint is as it was: free some space, and go on" in str(
            raised.value
        )
