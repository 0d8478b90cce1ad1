"""Every dialect from Keras to the port and back: both Kerases, both containers, every published depth."""

from __future__ import annotations

import keras_round_trips
import numpy as np
import pytest
from keras_layers import LIBRARIES
from round_trips import WAYS, judge, trips

from weight_transfer import DIALECTS, read_checkpoint
from weight_transfer.converted import read_converted

# The depths that each dialect's own code has.
PUBLISHED = {
    "tutorial": (18, 34, 50, 101, 152),
    "keras-2.2": (50,),
    "keras-2.1": (50,),
    "mask-rcnn": (50, 101),
    "keras-resnet": (18, 34, 50, 101, 152),
    "caffe": (50, 101, 152),
    "keras-applications": (50, 101, 152),
}
DEPTHS = [(dialect, depth) for dialect, depths in PUBLISHED.items() for depth in depths]


def check(keras_side, library, cases, ways, folder):
    """Every array, field and output is as it was, and between them stood a native ResNet."""
    saved = keras_side(keras_round_trips.saved_dialects, library, cases, folder)
    files = {f"{dialect} {depth}": paths for (dialect, depth), paths in zip(cases, saved, strict=True)}
    done = trips(files, ways, folder)
    assert [trip.refusal for trip in done if trip.refusal] == []
    assert {trip.name for trip in done} == files.keys()
    for trip, found in judge(keras_side, library, done):
        assert found.lines == []
        assert (found.held_against, found.num_outputs) == (trip.way[0], 1)
        with read_checkpoint(trip.source) as checkpoint:
            assert found.num_arrays == len(checkpoint.arrays) > 60
        network = read_converted(trip.port).network.resnet
        assert network is not None
        assert trip.name.endswith((" None", f" {network.depth}"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_dialect_comes_back(library, tmp_path, keras_side):
    """Small, by one Keras and in one way each."""
    cases = [(dialect, None) for dialect in list(DIALECTS)[LIBRARIES.index(library) :: 2]]
    check(keras_side, library, cases, lambda number: WAYS[number % 4 : number % 4 + 1], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_dialect_comes_back_by_either_keras(library, tmp_path, keras_side):
    """In two of the four ways each."""
    check(
        keras_side, library, [(dialect, None) for dialect in DIALECTS], lambda number: WAYS[number % 2 :: 2], tmp_path
    )


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_published_depth_of_each_dialect_comes_back(library, tmp_path, keras_side):
    """By one Keras in turn: of the deepest either takes 10 s and more."""
    cases = DEPTHS[LIBRARIES.index(library) :: 2]
    check(keras_side, library, cases, lambda number: WAYS[number % 4 : number % 4 + 1], tmp_path)


def test_each_dialect_is_among_the_cases():
    assert PUBLISHED.keys() == DIALECTS.keys()
    assert {depth for _, depth in DEPTHS[::2]} == {depth for _, depth in DEPTHS[1::2]} == {18, 34, 50, 101, 152}


@pytest.mark.parametrize(
    ("library", "ending", "dialects"),
    [
        ("keras", ".keras", ("keras-applications",)),
        pytest.param("keras", ".keras", tuple(DIALECTS), marks=pytest.mark.slow),
        pytest.param("tf_keras", ".keras", tuple(DIALECTS), marks=pytest.mark.slow),
        ("tf_keras", ".h5", ("keras-resnet",)),
    ],
)
def test_the_next_step_is_the_one_that_would_have_come(library, ending, dialects, tmp_path, keras_side):
    """With another optimizer for each: its loss, every array after it and the count of steps, to the last bit."""
    networks = [("dialect", dialect) for dialect in dialects]
    saved = keras_side(keras_round_trips.saved_trained, library, networks, tmp_path, ending)
    files = {path.stem: [path] for _, path in saved}
    done = trips(files, lambda number: [(ending, ending)], tmp_path, with_optimizer=True)
    assert [trip.refusal for trip in done if trip.refusal] == []
    paths = [path for trip in done for path in (trip.source, trip.back)]
    steps = keras_side(keras_round_trips.next_steps, library, paths)
    for (name, _), (losses, expected, counted), found in zip(saved, steps[::2], steps[1::2], strict=True):
        assert found[0] == losses, name
        assert found[2] == counted == 3
        for actual, wanted in zip(found[1], expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)
