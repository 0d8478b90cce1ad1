"""An imported network as a PyTorch module: names, forms of outputs, modes, copies."""

from __future__ import annotations

import copy

import pytest
import torch
from handmade_graphs import conv, dense, network, row
from torch import nn

from resnet_torch import ImportedModel, import_graph
from resnet_torch.loading import _module
from weight_transfer.layer_graph import TAKEN_NAMES


@pytest.mark.parametrize("name", ["forward", "type", "predict", "train", "my.conv", "1st", "_graph", "class"])
def test_any_layer_name_becomes_a_module(name):
    model = import_graph(network(conv(name, "image"), outputs=[[name, 0, 0]]))
    x = torch.randn(2, 3, 6, 6)
    assert model(x).shape == model.predict(x).shape == (2, 3, 6, 6)
    assert len(model.state_dict()) == 2


def test_taken_names_are_those_that_a_module_has():
    theirs = {name for name in dir(ImportedModel) if not name.startswith("_")} | {"meta"}
    assert theirs <= TAKEN_NAMES | set(dir(object))


def test_forward_ends_before_the_last_softmax_and_predict_after_it():
    flat = row("Flatten", "flat", ["image"])
    model = import_graph(network(flat, dense("out", "flat", 4, activation="softmax"), outputs=[["out", 0, 0]]))
    x = torch.randn(3, 3, 6, 6)
    assert torch.equal(model(x).softmax(1), model.predict(x))
    assert not torch.allclose(model(x), model.predict(x))


def test_a_softmax_in_the_middle_stays_in_forward():
    rows = [
        row("Flatten", "flat", ["image"]),
        dense("middle", "flat", 4, activation="softmax"),
        dense("out", "middle", 2),
    ]
    model = import_graph(network(*rows, outputs=[["out", 0, 0]]))
    x = torch.randn(3, 3, 6, 6)
    assert torch.equal(model(x), model.predict(x))
    assert isinstance(model.middle_activation, nn.Softmax)


def test_outputs_come_in_the_files_order_and_form():
    rows = [row("Flatten", "flat", ["image"]), dense("b", "flat", 2, activation="sigmoid"), dense("a", "flat", 5)]
    several = import_graph(network(*rows, outputs=[["b", 0, 0], ["a", 0, 0]]))
    x = torch.randn(2, 3, 6, 6)
    first, second = several.predict(x)
    assert first.shape == (2, 2)
    assert second.shape == (2, 5)
    assert torch.equal(first, several(x)[0].sigmoid())


def test_predict_leaves_the_mode_as_it_was():
    model = import_graph(network(conv("c", "image"), row("Dropout", "d", ["c"], rate=0.5), outputs=[["d", 0, 0]]))
    model.train()
    model.c.eval()
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(model.predict(x), model.predict(x))
    assert model.training
    assert model.d.training
    assert not model.c.training


def test_a_copy_is_whole():
    model = import_graph(network(conv("c", "image"), outputs=[["c", 0, 0]]))
    other = copy.deepcopy(model)
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(model.predict(x), other.predict(x))
    assert other.network == model.network
    assert other.c is not model.c


def test_constants_of_a_layer_are_there_after_loading(tmp_path):
    numbers = {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 9.0, 16.0], "axis": [-1]}
    model = _module(
        tmp_path, network(row("Normalization", "n", ["image"], **numbers), outputs=[["n", 0, 0]]), {}, "keras3"
    )
    x = torch.randn(1, 3, 6, 6)
    expected = (x - torch.tensor([1.0, 2.0, 3.0])[:, None, None]) / torch.tensor([2.0, 3.0, 4.0])[:, None, None]
    torch.testing.assert_close(model.predict(x), expected)
