"""What a planted mistake changes, and what it leaves as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from handmade_graphs import conv, dense, network, row
from torch import Tensor, nn
from torch_recordings import lived_in

from resnet_torch import BatchNorm2d
from resnet_torch.comparison.mistakes import plants
from resnet_torch.comparison.mistakes.sites import Site
from resnet_torch.comparison.subject import Subject, subject_of
from resnet_torch.imported import import_graph
from resnet_torch.layers.poolings import GlobalPool, SamePool
from weight_transfer.preprocessing import PRESETS


def graph(*rows: dict) -> Subject:
    return subject_of(lived_in(import_graph(network(*rows, outputs=[[rows[-1]["name"], 0, 0]]))))


def test_an_attribute():
    subject = graph(conv("a", "image"))
    planted = plants.attribute("stride", lambda module: (2, 2))(subject, Site("a", "a"))
    assert planted.model.get_submodule("a").stride == (2, 2)


def test_a_tensor_keeps_its_shape_and_its_place():
    subject = graph(conv("a", "image", filters=5))
    weight = subject.model.get_submodule("a").weight
    before = weight.detach().clone()
    planted = plants.tensor("weight", lambda w: w.transpose(0, 1))(subject, Site("a", "a"))
    assert planted.model.get_submodule("a").weight is weight
    assert torch.equal(weight, before.transpose(0, 1).reshape(before.shape))


def test_two_tensors_are_swapped():
    norm = lived_in(BatchNorm2d(3))
    gamma, beta = norm.weight.detach().clone(), norm.bias.detach().clone()
    model = nn.Sequential(norm)
    subject = Subject(model, {}, {})
    plants.swapped("weight", "bias")(subject, Site("norm", "0"))
    assert torch.equal(norm.weight, beta)
    assert torch.equal(norm.bias, gamma)


@pytest.mark.parametrize("names", [(), ("weight",)])
def test_tensors_are_swapped_with_a_partner(names):
    subject = graph(conv("a", "image"), conv("b", "a"))
    a, b = (subject.model.get_submodule(name) for name in "ab")
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in (a, b)]
    plants.swapped_with_partner(*names)(subject, Site("a", "a"))
    for module, own, other in ((a, *before), (b, *reversed(before))):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, (other if name in (names or ("weight", "bias")) else own)[name])


def test_a_module_around_another_keeps_the_arrays_of_the_layer():
    subject = graph(conv("a", "image", padding="same"))
    for wrap in (plants.OneSided, lambda convolution: nn.Sequential(convolution, nn.ReLU())):
        planted = plants.changed(wrap)(graph(conv("a", "image", padding="same")), Site("a", "a"))
        state = planted.model.state_dict()
        assert planted.rows.keys() == subject.rows.keys()
        for name, found in planted.rows.items():
            assert torch.equal(state[found.torch], subject.model.state_dict()[subject.rows[name].torch])


def test_a_stride_moves_and_the_size_stays():
    subject = graph(conv("a", "image", kernel_size=[1, 1], strides=[2, 2]), conv("b", "a"))
    x = torch.randn(1, 3, 6, 6).double()
    before = subject.model(x)
    after = plants.stride_moved(subject, Site("a", "a b")).model(x)
    assert after.shape == before.shape
    assert not torch.allclose(after, before)


def test_images_are_prepared_otherwise_and_logits_finished_twice():
    subject = graph(row("Flatten", "flat", ["image"]), dense("out", "flat", 4, activation="softmax"))
    assert plants.preprocessed_otherwise(subject, Site("flat")).preprocessing == PRESETS["caffe"]
    assert (
        plants.preprocessed_otherwise(plants.preprocessed_otherwise(subject, Site("")), Site("")).preprocessing
        == PRESETS["torch"]
    )
    logits = torch.randn(2, 4)
    position, finish = plants.finished_twice(subject, Site("out")).endings["out"]
    assert position == 0
    assert torch.equal(finish(logits), logits.softmax(1).softmax(1))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_dilated_convolution_keeps_its_size(kernel, dilation):
    convolution = nn.Conv2d(3, 4, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    x = torch.randn(1, 3, 20, 20)
    shape = convolution(x).shape
    plants.dilate(convolution)
    assert convolution.dilation == (2 * dilation, 2 * dilation)
    assert convolution(x).shape == shape


def test_a_one_sided_padding_keeps_the_size():
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(1, 3, 8, 8)
    before = convolution(x)
    after = plants.OneSided(convolution)(x)
    assert after.shape == before.shape
    assert torch.equal(after[..., :-1, :-1], before[..., 1:, 1:])


@pytest.mark.parametrize(
    ("pool", "other"),
    [
        (nn.MaxPool2d(3, 2, 1), nn.AvgPool2d),
        (nn.AvgPool1d(2), nn.MaxPool1d),
        (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d),
        (nn.AdaptiveAvgPool3d(1), nn.AdaptiveMaxPool3d),
    ],
)
def test_a_pool_of_the_other_kind(pool, other):
    found: Any = plants.pool_otherwise(pool)
    assert type(found) is other
    x = torch.randn(1, 2, *[8] * int(other.__name__[-2]))
    assert found(x).shape == pool(x).shape


@pytest.mark.parametrize("pool", [GlobalPool("Max", 2, False), SamePool("Average", (3, 3), (2, 2))])
def test_our_own_pools_change_their_kind(pool):
    before = pool.kind
    assert plants.pool_otherwise(pool) is None
    assert {before, pool.kind} == {"Max", "Average"}


@pytest.mark.parametrize("depth", [18, 50])
def test_a_block_without_its_shortcut_keeps_the_modules_of_the_shortcut(depth, small):
    model = small(depth=depth)
    names = [name for name, _ in model.named_modules()]
    block = model.stages.stage2.a
    x = torch.randn(1, 3, 16, 16)
    assert plants.lose_shortcut(block) is None
    assert set(names) <= {name for name, _ in model.named_modules()}
    y = model.stem(x)
    assert torch.equal(block.eval()(y), block.residual(y).relu())


def test_a_norm_that_trains_whatever_is_said():
    norm = plants.AlwaysTraining(BatchNorm2d(3)).eval()
    assert norm.training
    assert norm.norm.training
    x = torch.randn(4, 3, 5, 5)
    assert norm(x).mean().abs() < 1e-6


def test_changes_of_a_tensor():
    weight = torch.randn(4, 3, 3, 2)
    assert torch.equal(plants.reshaped(weight).flatten(), weight.permute(2, 3, 1, 0).flatten())
    assert torch.equal(plants.rounded_to_half(weight), weight.half().float())
    assert plants.rounded_to_half(weight.double()).dtype == torch.float64
    without: Tensor = plants.without_a_filter(weight.clone())
    assert not without[2].any()
    assert torch.equal(without[[0, 1, 3]], weight[[0, 1, 3]])
    norm = nn.BatchNorm2d(3, eps=1e-3)
    assert plants.other_epsilon(norm) == 1.001e-5
    norm.eps = 1e-5
    assert plants.other_epsilon(norm) == 1e-3
