"""The layer graph against the twins that real Keras builds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re

import keras_resnets
import pytest
from sweeps import slow_but

from weight_transfer import Architecture, ArchitectureError, Conventions, Head, design
from weight_transfer.graph import keras_order
from weight_transfer.resnet.dialects import DIALECTS, head_for
from weight_transfer.resnet.layout import ends_block
from weight_transfer.resnet.recipe import resnet_graph

# He et al. 2015, table 1: multiply-adds x 10^9 of 18 to 152 layers at 224 x 224.
PAPER = {18: 1.8, 34: 3.6, 50: 3.8, 101: 7.6, 152: 11.3}


@pytest.mark.parametrize(("depth", "num_arrays"), [(50, 320), (101, 626), (152, 932)])
def test_rendered_names_are_those_of_keras_applications(depth, num_arrays, keras_side):
    rows = keras_order(resnet_graph(design(depth, dialect="keras-applications")))
    assert sum(len(row.weights) for row in rows) == num_arrays
    assert [row.name for row in rows][1:] == keras_side(keras_resnets.application_layers, f"ResNet{depth}")[1:]


TWINS = list(itertools.product(DIALECTS, [18, 50, 101]))
USUAL = [("tutorial", 50), ("caffe", 101), *((dialect, 18) for dialect in DIALECTS)]


@pytest.mark.parametrize(("dialect", "depth"), slow_but(USUAL, TWINS))
def test_twin_has_the_graphs_layers_in_the_graphs_order(dialect, depth, keras_side):
    arguments = {"in_shape": (97, 225, 1), "depth": depth, "dialect": dialect}
    architecture = design(**arguments, head=head_for(dialect, 10))
    expected = [(row.name, row.class_name, row.out_shape) for row in keras_order(resnet_graph(architecture))]
    assert keras_side(keras_resnets.layer_order, **arguments) == expected


@pytest.mark.parametrize("depth", PAPER)
def test_multiply_adds_are_the_papers(depth):
    cost = sum(
        layer.multiply_adds for layer in resnet_graph(design(depth, dialect="keras-applications")).layers.values()
    )
    assert abs(cost / 1e9 - PAPER[depth]) < 0.1


def test_sizes_of_the_paper():
    graph = resnet_graph(design(50))
    stem = {path: layer.out_shape[0] for path, layer in list(graph.layers.items())[:7]}
    assert (stem["conv"], stem["pool1"]) == (112, 56)
    ends = [graph.layers[path] for path, modules in graph.layout.items() if ends_block(modules)]
    assert [layer.out_shape[0] for layer in ends] == [56] * 3 + [28] * 4 + [14] * 6 + [7] * 3


@pytest.mark.parametrize(("padding", "size"), [("zeros", 56), ("same", 56), ("none", 55)])
def test_stem_pool_padding_decides_56_or_55(padding, size):
    layers = resnet_graph(design(50, pool_padding=padding)).layers.values()
    pool = next(layer for layer in layers if layer.class_name == "MaxPooling2D")
    assert pool.out_shape == (size, size, 64)


def test_free_sizes_stay_free_and_cost_is_not_told():
    layers = list(resnet_graph(design(18, in_shape=(None, None, 3))).layers.values())
    assert layers[0].out_shape == (None, None, 3)
    assert layers[-1].out_shape == (10,)
    assert any(layer.multiply_adds is None for layer in layers if layer.weights)


def test_an_architecture_survives_json():
    architecture = design(101, dialect="keras-resnet", middle_kernel_size=(3, 5), in_shape=(None, 97, 2))
    assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


def _named(**names: object) -> None:
    """As a converted file would say it."""
    values = json.loads(json.dumps(design(50).to_dict()))
    resnet_graph(Architecture.from_dict({**values, "names": {**values["names"], **names}}))


BAD = {
    "depth must be one of": lambda: design(51),
    "unknown dialect": lambda: design(50, dialect="klingon"),
    "unknown argument. Received: epsilom": lambda: design(50, epsilom=1.0),
    "middle_kernel_size must be a pair of odd numbers": lambda: design(50, middle_kernel_size=4),
    "epsilon must lie between 0 and 1": lambda: design(50, epsilon=0.0),
    "momentum must lie in 0..1": lambda: design(50, momentum=2.0),
    "dropout must lie in 0..1": lambda: design(50, head=Head(dropout=1.0)),
    "stride_in must be one of": lambda: design(50, stride_in="5x5"),
    "filters must hold 3 numbers": lambda: design(50, filters=((4, 4),) * 4),
    "block_counts must hold whole numbers": lambda: design(block_counts=(2, 0)),
    "in_shape must be": lambda: Architecture(in_shape=(224, 224)),  # type: ignore[arg-type]
    "a classifier needs pooling": lambda: design(50, head=Head(pooling=None)),
    "hidden_units needs a classifier": lambda: design(50, head=Head(classes=None, hidden_units=3)),
    "letters end at z": lambda: resnet_graph(Architecture(block_counts=(27,))),
    "not the description of an architecture": lambda: Architecture.from_dict({"block": "basic"}),
    "the input is too small: nothing is left at layer 'pool1'": lambda: resnet_graph(
        design(18, in_shape=(1, 1, 3), stem_padding="same", pool_padding="none")
    ),
    "names.stem_conv must be letters, digits, underscores": lambda: _named(stem_conv="conv') or open('MARKER"),
    "{branch}. Received: '{stage.__class__}'": lambda: _named(conv="{stage.__class__}"),
    "{branch}. Received: '{block:999999999}'": lambda: _named(norm="{block:999999999}"),
    "names.branches[1] must be letters": lambda: _named(branches=("2a", "2.b", "2c")),
    "names.classifier must be letters, digits, underscores, {stage}, {block} and {branch}. Received: 3": (
        lambda: _named(classifier=3)
    ),
    "names must have 3 branches, and letters or numbers": lambda: _named(branches=("a", "b")),
    "Received: branches=('2a', '2b', '2c'), block_labels='greek'": lambda: _named(block_labels="greek"),
    "numbered_stages must hold whole numbers. Received: ('3',)": lambda: _named(numbered_stages=("3",)),
    "no word that Python or a module has. Received: 'forward'": lambda: _named(pool="forward"),
    "no word that Python or a module has. Received: 'append'": lambda: _named(pool="append"),
    "two layers are both named 'conv'": lambda: resnet_graph(
        Architecture(names=dataclasses.replace(design(50).names, stem_norm="conv"))
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_impossible_architectures_are_refused_in_words(text):
    with pytest.raises(ArchitectureError, match=re.escape(text)):
        BAD[text]()


def test_every_dialect_is_a_record_with_its_source():
    for key, dialect in DIALECTS.items():
        assert dialect.key == key
        assert dialect.title
        assert dialect.source
        assert isinstance(dialect.conventions, Conventions)
