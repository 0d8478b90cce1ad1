"""What is learned from, and in which order: by seeds alone."""

from __future__ import annotations

import numpy as np
import pytest

from weight_transfer.data import Shuffled, read_order, split, write_order
from weight_transfer.errors import TransferError


def test_split_is_that_of_scikit_learn():
    """What train_test_split(test_size=0.2, random_state=2021) of scikit-learn 1.9.1 gives."""
    train, validation = split(11)
    assert train.tolist() == [1, 3, 10, 6, 9, 0, 5, 4]
    assert validation.tolist() == [8, 2, 7]
    train, validation = split(50_000)
    assert (len(train), len(validation)) == (40_000, 10_000)
    assert train[:5].tolist() == [45622, 46279, 5600, 32953, 32572]
    assert validation[:5].tolist() == [17557, 5312, 2210, 9261, 39404]


@pytest.mark.parametrize(("n", "share"), [(1, 0.2), (10, 0.0), (10, 1.0), (3, 0.9)])
def test_nothing_left_is_refused(n, share):
    with pytest.raises(TransferError, match="leaves nothing to train on or nothing to validate on"):
        split(n, share=share)


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    indices = split(100)[0]
    first, again, other = Shuffled(indices, 1), Shuffled(indices, 1), Shuffled(indices, 2)
    assert not np.array_equal(first(0), first(1))
    np.testing.assert_array_equal(first(5), again(5))  # whatever was asked for before
    np.testing.assert_array_equal(first(0), again(0))
    assert not np.array_equal(first(0), other(0))
    np.testing.assert_array_equal(np.sort(first(3)), np.sort(indices))


def test_an_order_file_reads_back(tmp_path):
    indices = split(50)[0]
    order = Shuffled(indices, 3)
    write_order(tmp_path / "order.npz", order, epochs=3)
    read = read_order(tmp_path / "order.npz", indices, epochs=3)
    for epoch in range(3):
        np.testing.assert_array_equal(read(epoch), order(epoch))
    with np.load(tmp_path / "order.npz") as arrays:
        assert arrays["order"].shape == (3, 40)
        assert arrays["order"].dtype == np.int64


def test_an_order_of_other_images_is_refused(tmp_path):
    path = tmp_path / "order.npz"
    train, validation = split(50)
    write_order(path, Shuffled(train, 3), epochs=2)
    with pytest.raises(TransferError, match=r"the order of 2 epochs. Expected 4"):
        read_order(path, train, epochs=4)
    with pytest.raises(TransferError, match="epoch 1 does not take each of the 10 training images once"):
        read_order(path, validation, epochs=2)
    twice = np.stack([train, np.concatenate([train[:-1], train[:1]])])
    np.savez(path, order=twice)
    with pytest.raises(TransferError, match="epoch 2 does not take each"):
        read_order(path, train, epochs=2)
    np.savez(path, order=twice.astype(float))
    with pytest.raises(TransferError, match="of float64"):
        read_order(path, train, epochs=2)
    path.write_text("no")
    with pytest.raises(TransferError, match="not an order file"):
        read_order(path, train, epochs=2)
