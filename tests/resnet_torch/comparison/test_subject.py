"""Which module gives which Keras layer's output: of a ResNet, of an imported graph, of anybody's module."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from handmade_graphs import conv, dense, network, row
from torch import Tensor, nn
from torch_recordings import ORIGIN, lived_in

from resnet_torch.comparison.subject import Stop, Subject, Tap, flat, subject_of, subject_of_module
from resnet_torch.imported import import_graph
from resnet_torch.inference import inference
from weight_transfer import VerificationError
from weight_transfer.preprocessing import PRESETS
from weight_transfer.weight_mapping import mapping


def outputs_of(subject: Subject, x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with inference(subject.model):
        subject.run([x], found.__setitem__)
    return found


# A ResNet


def test_every_layer_of_a_resnet_that_has_a_module_is_found_and_the_output_after_its_softmax(small):
    model = small()
    subject = subject_of(model)
    named = [path for path, modules in model.network.layout.items() if modules]
    assert list(subject.taps) == [*named, "output"]
    x = torch.randn(2, 3, 64, 64)
    found = outputs_of(subject, x)
    # The blocks run their two branches in an order of their own.
    assert found.keys() == subject.taps.keys()
    assert torch.equal(found["output"], model.predict(x))
    assert torch.equal(found[named[-1]], model.eval()(x))
    assert subject.rows.keys() == {row.keras for row in mapping(model.network)}
    assert subject.losses == ("cross entropy",)
    assert (subject.preprocessing, subject.channels) == (PRESETS["caffe"], 3)


def test_the_paddings_of_a_stem_are_part_of_what_they_pad(small):
    same, zeros = (small(dialect="keras-2.2", pool_padding=padding) for padding in ("same", "zeros"))
    taps = subject_of(same).taps
    assert taps["conv1"].modules == ("stem.conv1_pad", "stem.conv1")
    pool = same.architecture.names.pool
    assert taps[pool].modules == (f"stem.{same.architecture.names.pool_pad}", f"stem.{pool}")
    assert subject_of(zeros).taps[pool].modules == (f"stem.{pool}",)


def test_a_headless_resnet_ends_with_its_feature_map(small):
    model = small(n_classes=None)
    subject = subject_of(model)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(outputs_of(subject, x)["output"], model.predict(x))
    assert subject.losses == ("mean square",)


# An imported graph


def test_a_shared_layer_has_a_tap_for_each_call():
    twice = [conv("c", "image"), row("Activation", "act", ["c"], activation="tanh")]
    twice[0]["inbound_nodes"].append([["act", 0, 0, {}]])
    model = lived_in(import_graph(network(*twice, outputs=[["c", 1, 0]])))
    subject = subject_of(model)
    assert subject.taps == {"c": Tap(("c",), 0), "act": Tap(("act",), 0), "c#2": Tap(("c",), 1)}
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    found = outputs_of(subject, x)
    first = model.c(x)
    assert torch.equal(found["c"], first)
    assert torch.equal(found["c#2"], model.c(first.tanh()))
    assert list(found) == ["c", "act", "c#2"]


def test_a_fused_activation_is_part_of_its_layer():
    model = lived_in(import_graph(network(conv("c", "image", activation="relu"), outputs=[["c", 0, 0]])))
    subject = subject_of(model)
    assert subject.taps["c"].modules == ("c", "c_activation")
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.equal(outputs_of(subject, x)["c"], model.c(x).relu())


def test_a_shared_layer_with_a_fused_activation_counts_its_calls():
    twice = [conv("c", "image", activation="relu"), row("Activation", "act", ["c"], activation="tanh")]
    twice[0]["inbound_nodes"].append([["act", 0, 0, {}]])
    model = lived_in(import_graph(network(*twice, outputs=[["c", 1, 0]])))
    subject = subject_of(model)
    assert subject.taps["c#2"] == Tap(("c", "c_activation"), 1)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    found = outputs_of(subject, x)
    assert torch.equal(found["c#2"], model.c(found["c"].tanh()).relu())


def test_a_last_softmax_is_applied_for_the_comparison_alone():
    rows = [row("Flatten", "flat", ["image"]), dense("out", "flat", 4, activation="softmax")]
    model = lived_in(import_graph(network(*rows, outputs=[["out", 0, 0]])))
    subject = subject_of(model)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.equal(outputs_of(subject, x)["out"], model.predict(x))
    with inference(model):
        (logits,) = subject.run([x], lambda name, y: None)
    assert torch.equal(logits, model(x))
    assert subject.losses == ("cross entropy",)


def test_an_activation_layer_of_a_like_name_is_no_fused_one():
    rows = [conv("c", "image"), row("ReLU", "other_activation", ["c"])]
    subject = subject_of(import_graph(network(*rows, outputs=[["other_activation", 0, 0]])))
    assert subject.taps["other_activation"].modules == ("other_activation",)


# Running


def test_stop_ends_the_run_and_leaves_no_hook():
    model = lived_in(nn.Sequential(OrderedDict(a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 3))))
    subject = subject_of_module(model, {}, ["a", "b", "c"], ORIGIN)
    seen: list[str] = []

    def note(name: str, y: Tensor) -> None:
        seen.append(name)
        if name == "b":
            raise Stop

    assert subject.run([torch.zeros(2, 3).double()], note) == []
    assert seen == ["a", "b"]
    assert not any(module._forward_hooks for module in model.modules())


def test_an_error_leaves_no_hook():
    model = lived_in(nn.Sequential(OrderedDict(a=nn.Linear(3, 3))))
    subject = subject_of_module(model, {}, ["a"], ORIGIN)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        subject.run([torch.zeros(2, 4).double()], lambda name, y: None)
    assert not model.a._forward_hooks


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 5, 3), (2, 7, 3), (2, 4, 5, 6, 3)])
def test_keras_layout_and_back(shape):
    subject = subject_of_module(nn.Linear(3, 3).double(), {}, [], ORIGIN)
    array = np.random.default_rng(0).normal(size=shape)
    tensor = subject.from_keras(array)
    assert tensor.shape == (shape if len(shape) == 2 else (shape[0], shape[-1], *shape[1:-1]))
    np.testing.assert_array_equal(subject.to_keras(tensor), array)
    np.testing.assert_array_equal(replace(subject, channels_last=False).to_keras(tensor), tensor.numpy())


def test_bfloat16_becomes_float32():
    subject = subject_of_module(nn.Linear(3, 3), {}, [], ORIGIN)
    assert subject.to_keras(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32


def test_outputs_of_every_form_are_flattened():
    one, two = torch.zeros(1), torch.ones(1)
    assert flat(one) == [one]
    assert flat((one, two)) == flat({"x": one, "y": two}) == flat([one, two]) == [one, two]


# Anybody's module


class Own(nn.Module):
    """Names of its own for some of the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), act=nn.ReLU()))
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.body(x)).mean((2, 3)))


WANTED = ["conv1", "act", "bn1", "pool", "fc"]


def own(**arguments: Any) -> Subject:
    names = arguments.pop("names", {"bn1": "norm"})
    return subject_of_module(lived_in(Own()), names, WANTED, arguments.pop("origin", ORIGIN), **arguments)


def test_modules_are_found_by_the_end_of_their_path_or_by_the_map():
    subject = own()
    assert subject.taps == {
        "conv1": Tap(("body.conv1",)),
        "act": Tap(("body.act",)),
        "bn1": Tap(("norm",)),
        "fc": Tap(("fc",)),
        "output": Tap(()),
    }
    found = outputs_of(subject, torch.randn(2, 3, 5, 5, dtype=torch.float64))
    assert list(found) == ["conv1", "act", "bn1", "fc", "output"]


def test_arrays_are_in_keras_layout():
    subject = own()
    assert {name: row.shape for name, row in subject.rows.items()} == {
        "conv1/kernel": (3, 3, 3, 4),
        "conv1/bias": (4,),
        "bn1/gamma": (4,),
        "bn1/beta": (4,),
        "bn1/moving_mean": (4,),
        "bn1/moving_variance": (4,),
        "fc/kernel": (4, 5),
    }
    weight = subject.model.state_dict()["body.conv1.weight"].numpy()
    kernel = subject.rows["conv1/kernel"].to_keras(weight)
    np.testing.assert_array_equal(kernel, weight.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(subject.rows["conv1/kernel"].to_torch(kernel), weight)


def test_dots_of_a_keras_name_are_underscores_and_nested_models_are_left_out():
    model = nn.Sequential(OrderedDict(my_conv=nn.Linear(3, 3)))
    subject = subject_of_module(model, {}, ["backbone/my.conv"], ORIGIN)
    assert subject.taps["backbone/my.conv"] == Tap(("my_conv",))


def test_a_name_that_two_modules_have_says_nothing():
    model = nn.Sequential(
        OrderedDict(a=nn.Sequential(OrderedDict(c=nn.ReLU())), b=nn.Sequential(OrderedDict(c=nn.Tanh())))
    )
    assert "c" not in subject_of_module(model, {}, ["c"], ORIGIN).taps
    assert subject_of_module(model, {"c": "b.c"}, ["c"], ORIGIN).taps["c"] == Tap(("b.c",))


def test_a_map_that_points_at_nothing_is_refused_all_at_once_with_the_nearest_names():
    with pytest.raises(VerificationError, match="the name map points at what is not there") as caught:
        own(names={"bn1": "norms", "conv_1": "body.conv1"})
    text = str(caught.value)
    assert "bn1 -> norms (nearest: norm)" in text
    assert "conv_1 (nearest: conv1)" in text
    assert "Expected Keras layer to path of a module" in text


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_a_last_activation_that_the_module_leaves_out_or_applies(activation):
    origin = replace(ORIGIN, last_activations=(activation,), outputs=("fc",))
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    plain, predicting = own(origin=origin), own(origin=origin, gives_predictions=True)
    logits = plain.model(x)
    finish = {"softmax": lambda y: y.softmax(1), "sigmoid": torch.sigmoid, None: lambda y: y}[activation]
    assert torch.equal(outputs_of(plain, x)["fc"], finish(logits))
    assert torch.equal(outputs_of(predicting, x)["fc"], logits)
    assert plain.losses == predicting.losses
