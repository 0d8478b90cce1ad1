"""A file's arrays under a dialect's names: nested models, and layers that are only counted."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest

from weight_transfer import Hints, MappingError, design, identify, read_checkpoint
from weight_transfer.dialects import head_for


def test_the_same_layer_in_two_nested_models_is_refused(tmp_path):
    arrays = {
        f"{model}/{layer}/kernel": np.ones((7, 7, 3, 4), np.float32)
        for model in ("left", "right")
        for layer in ("conv1", "conv2")
    }
    path = checkpoints.legacy_weights(tmp_path / "w.h5", arrays)
    with (
        read_checkpoint(path) as checkpoint,
        pytest.raises(MappingError, match="are the same layer of two nested models"),
    ):
        identify(checkpoint)


def test_layer_counters_are_named_by_the_architecture(tmp_path):
    """A Keras 3 weights file without names, as tf_keras writes it, given the dialect and depth."""
    import h5py

    expected = design(
        18,
        dialect="keras-applications",
        stem_filters=4,
        filters=tuple((w, w) for w in (4, 5, 6, 7)),
        head=head_for("keras-applications", 3),
    )
    path = checkpoints.checkpoint(tmp_path / "m.weights.h5", expected)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]
    arrays = checkpoints.arrays_of(expected)
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.names_are_counters
        found = identify(checkpoint, Hints(dialect="keras-applications"))
        for name, value in arrays.items():
            np.testing.assert_array_equal(found.arrays[name].read(), value)
