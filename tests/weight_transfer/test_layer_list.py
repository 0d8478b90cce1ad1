"""A file's list of layers laid on a network's, without any file."""

from __future__ import annotations

import checkpoints
import pytest

from weight_transfer import read_checkpoint
from weight_transfer.layer_list import Entry, Expected, LayerList, layer_list_of


def listed(*names: str, path, arrays=("conv/kernel",)) -> LayerList | None:
    """What a legacy file lists whose attribute ``layer_names`` is this; ``conv`` has an array."""
    import h5py
    import numpy as np

    checkpoints.legacy_weights(path, {name: np.ones((1, 1, 2, 2), "float32") for name in arrays})
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name in set(names) - {name.partition("/")[0] for name in arrays}:
            file.create_group(name).attrs["weight_names"] = np.array([], "S1")
    with read_checkpoint(path) as checkpoint:
        return layer_list_of(checkpoint)


NETWORK = (
    Expected("InputLayer", depth=0),
    Expected("Conv2D", "conv", depth=1),
    Expected("ReLU", depth=2, also=("activation",)),
    Expected("MaxPooling2D", depth=3),
)


@pytest.mark.parametrize(
    "names",
    [
        ("input_1", "conv", "re_lu", "max_pooling2d"),
        ("input_layer_3", "conv", "activation_7", "max_pooling2d_1"),
        ("image", "conv", "activation", "max_pooling2d"),  # a person's name says nothing, but counts
        ("input_1", "conv", "my_activation", "pool"),
        ("input_1", "conv", "relu", "maxpooling2d_1"),  # as Keras 1 and Keras 3's operations call them
        ("input_1", "conv", "tf.nn.relu_2", "max_pooling2d"),
        ("conv", "re_lu", "max_pooling2d"),  # a Sequential
        ("input_1", "conv", "dropout", "re_lu", "gaussian_noise_3", "random_flip", "max_pooling2d"),
    ],
)
def test_lists_of_this_network(names, tmp_path):
    assert listed(*names, path=tmp_path / "a.h5").differences(NETWORK) == ()


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (
            ("input_1", "conv", "leaky_re_lu_4", "max_pooling2d"),
            (
                "LeakyReLU: the file lists 1 (leaky_re_lu_4), the network has none",
                "ReLU: the file lists none, the network has 1",
            ),
        ),
        (
            ("input_1", "conv", "re_lu", "average_pooling2d"),
            (
                "AveragePooling2D: the file lists 1 (average_pooling2d), the network has none",
                "MaxPooling2D: the file lists none, the network has 1",
            ),
        ),
        (("input_1", "conv", "max_pooling2d"), ("ReLU: the file lists none, the network has 1",)),
        (
            ("input_1", "rescaling", "conv", "re_lu", "max_pooling2d"),
            ("Rescaling: the file lists 1 (rescaling), the network has none",),
        ),
        (
            ("input_1", "conv", "re_lu", "re_lu_1", "max_pooling2d"),
            ("ReLU: the file lists 2 (re_lu to re_lu_1), the network has 1",),
        ),
        (
            ("input_1", "conv", "re_lu", "max_pooling2d", "tail"),
            ("1 of tail: the network has no such layer",),
        ),
        (
            ("input_1", "conv", "tf.math.sin", "max_pooling2d"),
            (
                "tf.math.sin: the file lists 1 (tf.math.sin), the network has none",
                "ReLU: the file lists none, the network has 1",
            ),
        ),
        (("input_1", "re_lu", "conv", "max_pooling2d"), ("re_lu stands where the network has Conv2D",)),
    ],
)
def test_another_networks_list_is_told_by_class(names, lines, tmp_path):
    assert listed(*names, path=tmp_path / "a.h5").differences(NETWORK) == lines


def test_layers_of_one_depth_stand_in_any_order():
    row = [Expected("Conv2D", "a"), Expected("ReLU", also=("activation",)), Expected("Activation")]
    entries = (Entry("activation", "activation"), Entry("x", None), Entry("a", None))
    assert LayerList(entries, True).differences(row) == ()


def test_a_list_of_layers_with_arrays_alone_tells_nothing(tmp_path):
    assert listed("conv", path=tmp_path / "a.h5") is None


NESTED = ("model/conv/kernel", "model/other/kernel")


def test_of_a_nested_model_only_what_is_listed_too_often_tells(tmp_path):
    found = listed("image", "model", "re_lu", path=tmp_path / "a.h5", arrays=NESTED)
    assert found.nested == ("model",)
    assert found.differences(NETWORK) == ()
    found = listed("image", "model", "elu", path=tmp_path / "b.h5", arrays=NESTED)
    assert found.differences(NETWORK) == ("ELU: the file lists 1 (elu), the network has none",)


def test_what_acts_in_training_alone_is_told_apart():
    found = LayerList((Entry("dropout", "dropout"), Entry("dropout_1", "dropout"), Entry("x", None)), True)
    assert found.training_only([Expected("Dropout")]) == ("dropout_1",)
    assert found.lacking([Expected("GaussianNoise"), Expected("Dropout")]) == ("GaussianNoise",)
    assert found.unclear([Expected("Conv2D", "x")]) == ()
    assert found.unclear([]) == ("x",)
