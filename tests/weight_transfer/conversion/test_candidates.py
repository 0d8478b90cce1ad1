"""A file's arrays under a dialect's names: nested models, and layers that are only counted."""

from __future__ import annotations

import checkpoints
import h5py
import numpy as np
import pytest

from weight_transfer import ArchitectureError, Hints, MappingError, design, identify, read_checkpoint
from weight_transfer.families import Recognised
from weight_transfer.resnet.dialects import head_for


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


def without_names(path):
    """As tf_keras and the first Keras 3 write it: groups that only count."""
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)
    return path


def test_layer_counters_are_named_by_the_architecture(tmp_path):
    """A Keras 3 weights file without names, as tf_keras writes it, given the dialect and depth."""
    expected = design(
        18,
        dialect="keras-applications",
        stem_filters=4,
        filters=tuple((w, w) for w in (4, 5, 6, 7)),
        head=head_for("keras-applications", 3),
    )
    path = without_names(checkpoints.checkpoint(tmp_path / "m.weights.h5", expected))
    arrays = checkpoints.arrays_of(expected)
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.names_are_counters
        found = identify(checkpoint, Hints(dialect="keras-applications"))
        for name, value in arrays.items():
            np.testing.assert_array_equal(found.arrays[name].read(), value)


def test_two_convolutions_of_one_shape_that_nothing_tells_apart(tmp_path):
    """With one stage alone, whose first block has as many filters as the stem, the shortcut could be either."""
    network = checkpoints.small("keras-applications", block_counts=(1,), filters=((4, 4, 8),))
    path = without_names(checkpoints.checkpoint(tmp_path / "m.weights.h5", network))
    with (
        read_checkpoint(path) as checkpoint,
        pytest.raises(ArchitectureError, match=r"which of two convolutions of one shape is the shortcut's"),
    ):
        identify(checkpoint, Hints(dialect="keras-applications"))


def test_a_family_that_fits_as_well_is_asked_about(tmp_path, monkeypatch):
    path = without_names(checkpoints.checkpoint(tmp_path / "m.weights.h5", checkpoints.small("keras-applications")))
    family = Recognised("keras-hub", "KerasHub ResNet", {}, {})
    monkeypatch.setattr("weight_transfer.conversion.identify.recognise", lambda checkpoint: [family])
    with read_checkpoint(path) as checkpoint:
        with pytest.raises(ArchitectureError) as error:
            identify(checkpoint, Hints(conventions={"epsilon": 1e-3}))
        assert "only counts its layers, and 2 descriptions fit their shapes" in str(error.value)
        assert "--family keras-hub: KerasHub ResNet" in str(error.value)
        assert identify(checkpoint, Hints(dialect="keras-applications")).network.resnet.dialect == "keras-applications"


def test_a_file_of_counts_has_no_names_to_pair_by(tmp_path):
    network = checkpoints.small("keras-applications")
    path = without_names(checkpoints.checkpoint(tmp_path / "m.weights.h5", network))
    whole = checkpoints.checkpoint(tmp_path / "m.keras", network)
    with read_checkpoint(path) as checkpoint:
        with pytest.raises(MappingError, match=r"it only counts its layers, by no names\. Expected --pair-by order"):
            identify(checkpoint, Hints(like=whole, pair_by="name"))
        assert identify(checkpoint, Hints(like=whole)).network.resnet.conventions.epsilon == 1.001e-5
