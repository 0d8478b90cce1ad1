"""The file that examples/cifar10_npz.py writes is what ``--data`` takes."""

from __future__ import annotations

import keras_cifar10
import pytest

from weight_transfer.data import open_images


@pytest.mark.keras
def test_the_example_writes_what_data_takes(keras_side, tmp_path):
    path = keras_side(keras_cifar10.write, tmp_path / "subset.npz", 30)
    train, test = (open_images(str(path), part) for part in ("train", "test"))
    assert (len(train), len(test)) == (30, 6)
    assert train.class_names == test.class_names
    assert test.labels.tolist() == [0, 1, 2, 3, 4, 5]
