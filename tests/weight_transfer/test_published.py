"""What a network's names and layers say of its images: known, inside the network, or guessed."""

from __future__ import annotations

import dataclasses

import checkpoints
import pytest
from handmade_graphs import network, row

from weight_transfer import Hints, convert, design
from weight_transfer.architecture import Head
from weight_transfer.description import MADE_HERE, Description, Training
from weight_transfer.graph import Graph
from weight_transfer.published import expected_loading, expected_preprocessing
from weight_transfer.resnet.recipe import resnet_graph


def graph(first: str, *rest: str, **config: object) -> Graph:
    """A chain of one layer that is looked at, and activations under other names."""
    rows = [row(first, "first", ["image"], **config)]
    for name in rest:
        rows.append(row("Activation", name, [rows[-1]["name"]], activation="relu"))
    return network(*rows, outputs=[[rows[-1]["name"], 0, 0]])


def said(network) -> tuple[str, str]:
    how = expected_preprocessing(network)
    return how.name, how.certainty


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (resnet_graph(design(18)), ("caffe", "guessed")),
        (resnet_graph(design(50, dialect="mask-rcnn")), ("none", "guessed")),
        (resnet_graph(design(50, dialect="keras-applications")), ("caffe", "known")),
        (resnet_graph(design(50, dialect="keras-2.2")), ("caffe", "known")),
        (resnet_graph(design(50, dialect="keras-applications", head=Head(classes=10))), ("caffe", "guessed")),
        (resnet_graph(design(50, dialect="tutorial", head=Head(classes=1000))), ("caffe", "guessed")),
        (resnet_graph(design(18, in_shape=(32, 32, 1))), ("none", "guessed")),  # colours' means are no word on grey
        (graph("Activation", activation="relu"), ("none", "guessed")),
        (graph("Activation", "conv2_block1_preact_bn", activation="relu"), ("tf", "guessed")),
        (graph("Activation", "conv1", "bn_conv1", activation="relu"), ("caffe", "guessed")),
        (graph("Rescaling", scale=1 / 255, offset=0.0), ("none", "inside the network")),
        (graph("Rescaling", "conv1", "bn_conv1", scale=1 / 255, offset=0.0), ("none", "inside the network")),
    ],
)
def test_what_the_network_alone_shows(network, expected):
    assert said(network) == expected


def test_layers_that_move_pixels_may_stand_before_it():
    rows = [
        row("RandomFlip", "flip", ["image"], mode="horizontal"),
        row("Rescaling", "scaled", ["flip"], scale=1 / 255, offset=0.0),
    ]
    assert said(network(*rows, outputs=[["scaled", 0, 0]])) == ("none", "inside the network")


def test_a_network_that_was_trained_on_is_no_published_one():
    imagenet = Description(resnet_graph(design(50, dialect="keras-applications")), MADE_HERE)
    assert imagenet.is_imagenet
    trained = dataclasses.replace(imagenet, training=Training("keras3"))
    assert not trained.is_imagenet
    assert trained.preprocessing.certainty == "guessed"


def test_images_are_guessed_to_be_loaded_as_the_code_did():
    assert expected_loading(resnet_graph(design(18))) == "opencv"
    assert expected_loading(resnet_graph(design(18, dialect="keras-applications"))) == "keras"


def test_the_same_network_as_a_graph_gets_the_same(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small("keras-applications"))
    native, as_graph = (
        convert(source, tmp_path / f"{form}.safetensors", Hints(import_as=form)).description
        for form in ("native", "graph")
    )
    assert native.preprocessing == as_graph.preprocessing
    assert native.preprocessing.name == "caffe"
    assert native.preprocessing.certainty == as_graph.preprocessing.certainty == "guessed"
