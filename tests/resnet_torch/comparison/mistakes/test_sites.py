"""Where mistakes can be planted: in a ResNet, and in an imported graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from handmade_graphs import conv, dense, network, row
from torch import nn
from torch_recordings import lived_in

from resnet_torch import BatchNorm2d
from resnet_torch.comparison.mistakes import sites
from resnet_torch.comparison.mistakes.sites import Site
from resnet_torch.comparison.subject import CONVOLUTIONS, Subject, subject_of
from resnet_torch.imported import import_graph

NORM = {"epsilon": 1e-3, "momentum": 0.99, "axis": -1}


def graph(*rows: dict, outputs: object = None, **options: Any) -> Subject:
    outputs = outputs or [[rows[-1]["name"], 0, 0]]
    return subject_of(lived_in(import_graph(network(*rows, outputs=outputs, **options))))


def layers_of(found: Any) -> list[str]:
    return [site.layer for site in found]


def test_modules_come_in_the_order_of_execution_with_those_that_are_fused(small):
    subject = graph(conv("a", "image", activation="relu"), conv("b", "a"), row("ReLU", "c", ["b"]))
    assert list(sites.modules(nn.ReLU)(subject)) == [Site("a", "a_activation"), Site("c", "c")]
    assert list(sites.modules(*CONVOLUTIONS)(subject)) == [Site("a", "a"), Site("b", "b")]
    assert layers_of(sites.last_of_layer(*CONVOLUTIONS)(subject)) == ["b"]
    native = subject_of(small())
    assert layers_of(sites.modules(BatchNorm2d)(native))[:2] == ["bn_conv1", "bn2a_branch2a"]


def test_modules_inside_a_layers_module_have_their_own_path():
    subject = graph(row("SeparableConv2D", "s", ["image"], filters=4, kernel_size=[3, 3], padding="same"))
    assert list(sites.modules(*CONVOLUTIONS)(subject)) == [Site("s", "s.depthwise"), Site("s", "s.pointwise")]
    assert not list(sites.strided(subject))  # no node of the graph


def test_a_shared_layer_is_one_place():
    twice = [conv("a", "image"), row("ReLU", "r", ["a"])]
    twice[0]["inbound_nodes"].append([["r", 0, 0, {}]])
    subject = graph(*twice, outputs=[["a", 1, 0]])
    assert list(sites.modules(*CONVOLUTIONS)(subject)) == [Site("a", "a")]


def test_partners_have_one_shape_and_other_numbers_and_the_earlier_one_differs_first():
    subject = graph(conv("a", "image"), conv("b", "a"), conv("c", "b", filters=5))
    assert list(sites.with_partner(*CONVOLUTIONS)(subject)) == [Site("a", "a"), Site("a", "b")]
    model: Any = subject.model
    assert sites.partner_of(model.a, model) is model.b
    assert sites.partner_of(model.c, model) is None
    model.b.load_state_dict(model.a.state_dict())
    assert sites.partner_of(model.a, model) is None
    assert not list(sites.with_partner(*CONVOLUTIONS)(subject))


def test_the_first_convolution_of_an_image_with_colours():
    assert list(sites.first_convolution(graph(conv("a", "image"), conv("b", "a")))) == [Site("a", "a")]
    assert not list(sites.first_convolution(graph(conv("a", "image"), shape=(6, 6, 1))))
    assert not list(sites.first_convolution(graph(row("ReLU", "r", ["image"]))))


def test_a_stride_can_move_to_the_convolution_that_alone_reads_the_strided_one():
    rows = [conv("a", "image", strides=[2, 2]), row("ReLU", "r", ["a"]), conv("b", "r")]
    assert list(sites.strided(graph(*rows))) == [Site("a", "a b")]
    assert not list(sites.strided(graph(*rows[:2])))
    also = [*rows, conv("c", "r"), row("Add", "sum", ["b"])]
    also[-1]["inbound_nodes"][0].append(["c", 0, 0, {}])
    assert not list(sites.strided(graph(*also)))
    assert not list(sites.strided(graph(conv("a", "image"), conv("b", "a"))))


def test_strides_of_a_resnet(small):
    assert layers_of(sites.strided(subject_of(small()))) == ["res3a_branch2a", "res4a_branch2a", "res5a_branch2a"]
    assert layers_of(sites.strided(subject_of(small(depth=18))))[0] == "res3a_branch2a"


def test_blocks_of_a_resnet_and_additions_of_a_graph(small):
    assert layers_of(sites.blocks(subject_of(small())))[:2] == ["res2a_relu", "res3a_relu"]
    rows = [conv("a", "image"), row("Add", "sum", ["a"]), row("Multiply", "product", ["a"]), row("ReLU", "r", ["sum"])]
    rows[1]["inbound_nodes"][0].append(["image", 0, 0, {}])
    rows[2]["inbound_nodes"][0].append(["image", 0, 0, {}])
    subject = graph(*rows, outputs=[["r", 0, 0], ["product", 0, 0]])
    assert list(sites.blocks(subject)) == [Site("sum", "sum")]


def test_flattens_of_more_than_one_place():
    flat = [conv("a", "image"), row("Flatten", "flat", ["a"])]
    assert layers_of(sites.flattened_maps(graph(*flat))) == ["flat"]
    assert not list(sites.flattened_maps(graph(*flat, shape=(1, 1, 3))))


def test_endings_that_do_something(small):
    assert layers_of(sites.endings(subject_of(small()))) == ["output"]
    assert not list(sites.endings(subject_of(small(n_classes=None))))
    rows = [row("Flatten", "flat", ["image"]), dense("out", "flat", 4)]
    assert not list(sites.endings(graph(*rows)))
    rows[-1]["config"]["activation"] = "sigmoid"
    assert layers_of(sites.endings(graph(*rows))) == ["out"]


def test_the_whole_differs_from_its_first_layer_on():
    assert list(sites.whole(graph(conv("a", "image"), conv("b", "a")))) == [Site("a")]


@pytest.mark.parametrize(
    ("module", "pools"),
    [
        (nn.MaxPool2d(2), True),
        (nn.MaxPool2d(1, 2), False),
        (nn.MaxPool2d((1, 2)), True),
        (nn.AdaptiveAvgPool2d(1), True),
        (nn.AdaptiveAvgPool2d((1, 1)), True),
        (nn.AdaptiveAvgPool2d(7), False),
    ],
)
def test_pools_of_one_place_are_none(module, pools):
    assert sites.pools_many(module) == pools


@pytest.mark.parametrize(
    ("rule", "module", "holds"),
    [
        (sites.has_square_window, nn.Conv2d(3, 4, 3), True),
        (sites.has_square_window, nn.Conv2d(3, 4, (3, 1)), False),
        (sites.has_square_window, nn.Conv2d(3, 4, 1), False),
        (sites.has_square_window, nn.Conv1d(3, 4, 3), False),
        (sites.is_wide, nn.Conv1d(3, 4, 3), True),
        (sites.is_wide, nn.Conv2d(3, 4, 1), False),
        (sites.pads, nn.Conv2d(3, 4, 3, padding=1), True),
        (sites.pads, nn.Conv2d(3, 4, 3), False),
        (sites.pads, nn.Conv2d(3, 4, 3, padding="same"), False),
        (sites.is_square, nn.Conv2d(4, 4, 3), True),
        (sites.is_square, nn.Linear(3, 4), False),
        (sites.has_bias, nn.Linear(3, 4), True),
        (sites.has_bias, nn.Linear(3, 4, bias=False), False),
        (sites.is_affine, nn.BatchNorm2d(3), True),
        (sites.is_affine, nn.BatchNorm2d(3, affine=False), False),
        (sites.is_fused, BatchNorm2d(3), True),
    ],
)
def test_rules(rule, module, holds):
    assert rule(module) == holds


def test_a_change_that_changes_nothing_has_no_place():
    norm = nn.BatchNorm2d(3)
    assert not sites.changes("running_var", torch.square)(norm)
    assert not sites.changes("weight", torch.ones_like)(nn.BatchNorm2d(3, affine=False))
    with torch.no_grad():
        norm.running_var[1] = 4
    assert sites.changes("running_var", torch.square)(norm)
    assert norm.running_var[1] == 4
