"""Every class of the layer table from Keras to the port and back, with options that are not the defaults."""

from __future__ import annotations

import json

import keras_layers
import keras_round_trips
import pytest
import supported
from keras_layers import LIBRARIES
from keras_round_trips import LayerCase
from round_trips import WAYS, judge, trips

from weight_transfer import ArchitectureError, read_checkpoint
from weight_transfer.checkpoint.layer_names import layers_of
from weight_transfer.layer_types import LAYER_TYPES

UNWEIGHTED = supported.module_at("resnet_torch/layers/test_torch_layers_unweighted.py").CASES
FEW, MANY = 14, 30  # layers of one network
OPERATIONS = {case.name for case in UNWEIGHTED if case.name.islower()}  # no layers, but functions of tensors
DOTS = {"flip", "first_channels", "one_channel", "resnet.preprocess_input", "vgg16.preprocess_input"}  # index by `...`
READS_DOTS = {"keras": ".keras", "tf_keras": ".h5"}
# The class names of Keras 1 and of TensorFlow 1, which neither Keras writes any more.
OLD = {
    "Merge",
    *(f"Convolution{rank}D" for rank in (1, 2, 3)),
    *(f"SeparableConvolution{rank}D" for rank in (1, 2)),
    "BatchNormalizationV1",
    "BatchNormalizationV2",
}


def cases(library: str) -> list[LayerCase]:
    """Every case of both tables of layers that a Keras has."""
    weighted = [case for case in keras_layers.CASES if case.data_format == "channels_last"]
    unweighted = [case for case in UNWEIGHTED if case.only in (None, library)]
    return [
        *((case.class_name, [case.in_shape], case.arguments, None) for case in weighted),
        *((case.name, case.shapes, case.arguments, case.data_format) for case in unweighted),
    ]


def one_of_each(library: str) -> list[LayerCase]:
    """Of each class the case with the most arguments."""
    found: dict[str, LayerCase] = {}
    for case in cases(library):
        if case[3] != "channels_first" and (case[0] not in found or len(case[2]) > len(found[case[0]][2])):
            found[case[0]] = case
    return list(found.values())


def lost_in_an_h5(case: LayerCase) -> bool:
    """Whether Keras 3 does not read this from the .h5 that it writes: operations, axes that are none or several."""
    axis = case[2].get("axis", -1)
    return case[0] in OPERATIONS or axis is None or (isinstance(axis, list) and len(axis) > 1)


def networks(every: list[LayerCase], size: int) -> list[list[LayerCase]]:
    """Layers in networks of at most so many, those together that go the same ways."""
    kinds: dict[tuple[bool, ...], list[LayerCase]] = {}
    for case in every:
        kinds.setdefault((lost_in_an_h5(case), case[0] in DOTS, case[3] == "channels_first"), []).append(case)
    return [own[first : first + size] for own in kinds.values() for first in range(0, len(own), size)]


def check(keras_side, library, groups, ways, folder) -> set[str]:
    """Carries networks of layers there and back; returns the classes in their files."""
    saved = keras_side(keras_round_trips.saved_layers, library, groups, folder)
    files = {str(number): paths for number, paths in enumerate(saved)}
    for lost in (False, True):
        own = {name: paths for name, paths in files.items() if lost_in_an_h5(groups[int(name)][0]) == lost}
        owner = ".keras" if lost and library == "keras" else None
        done = trips(own, ways, folder / str(lost), owner=lambda name, way, first=owner: first)
        for trip in done:
            check_refusal(trip, library, groups[int(trip.name)])
        for trip, found in judge(keras_side, library, done):
            assert found.lines == []
            assert found.held_against == (owner or trip.way[0])
            assert found.num_outputs == len(groups[int(trip.name)]) + 1
    seen = set()
    for paths in saved:
        with read_checkpoint(paths[0]) as checkpoint:
            seen |= {str(layer["class_name"]) for _, layer in layers_of(checkpoint.config)}
    return seen


def check_refusal(trip, library, group):
    """Of the container from which its Keras reads no index `...`, and of nothing else."""
    with read_checkpoint(trip.source) as checkpoint:
        dots = "__ellipsis__" in json.dumps(checkpoint.config)
    assert dots == (group[0][0] in DOTS) or group[0][3] == "channels_first"  # where a part of the axes may be named
    if dots and trip.way[1] != READS_DOTS[library]:
        assert type(trip.refusal) is ArchitectureError
        assert "reads no index `...` from a" in str(trip.refusal)
    else:
        assert trip.refusal is None


@pytest.fixture(scope="module")
def each(keras_side, tmp_path_factory):
    """The classes that came back, of each Keras by one case, in one way each."""
    found = {}
    for library in LIBRARIES:
        groups = networks(one_of_each(library), FEW)
        folder = tmp_path_factory.mktemp(library)
        found[library] = check(keras_side, library, groups, lambda number: WAYS[number % 4 : number % 4 + 1], folder)
    return found


def test_each_class_of_the_table_comes_back(each):
    """With the classes of Keras 1, which `test_way_back_keras_1` has, there is no row without a case."""
    assert LAYER_TYPES.keys() - OLD <= each["keras"] | each["tf_keras"]
    of_one = {"ThresholdedReLU", "TFOpLambda", "SlicingOpLambda"}, {"GetItem", "Divide", "TrueDivide", "Negative"}
    assert of_one[0] <= each["tf_keras"] - each["keras"]
    assert of_one[1] <= each["keras"] - each["tf_keras"]
    assert not OLD & (each["keras"] | each["tf_keras"])


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_option_of_each_class_comes_back(library, tmp_path, keras_side):
    groups = networks(cases(library), MANY)
    check(keras_side, library, groups, lambda number: WAYS[number % 4 : number % 4 + 1], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_class_comes_back_in_every_way(library, tmp_path, keras_side):
    check(keras_side, library, networks(one_of_each(library), MANY), lambda number: WAYS, tmp_path)
