"""Images in an ``.npz``: both spellings, and what is refused."""

from __future__ import annotations

import image_data
import numpy as np
import pytest

from weight_transfer.data import has_validation, open_images
from weight_transfer.errors import TransferError


def test_reads_both_spellings_and_the_labels_of_keras(tmp_path):
    images, labels = image_data.pixels(5), np.array([0, 2, 1, 0, 2])
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels)
    np.savez(tmp_path / "b.npz", x_train=images, y_train=labels[:, np.newaxis].astype(np.uint8))  # as keras.datasets
    first, second = (open_images(str(tmp_path / name), "train") for name in ("a.npz", "b.npz"))
    assert first.class_names == second.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.labels.dtype == second.labels.dtype == np.int64
    np.testing.assert_array_equal(second.image(3, "opencv"), images[3])


def test_a_part_has_the_classes_of_the_training_part(tmp_path):
    path = tmp_path / "a.npz"
    images = image_data.pixels(4)
    np.savez(
        path, train_images=images, train_labels=[0, 1, 2, 3], test_images=images, test_labels=[0, 0, 1, 1],
        val_images=images[:2], val_labels=[0, 1],
    )  # fmt: skip
    assert open_images(str(path), "test").class_names == ("0", "1", "2", "3")
    assert has_validation(str(path))
    assert len(open_images(str(path), "validation")) == 2


def test_names_of_classes_may_stand_in_the_file(tmp_path):
    path = image_data.write_npz(tmp_path / "a.npz", class_names=np.array(image_data.CLASSES))
    assert open_images(str(path), "test").class_names == image_data.CLASSES
    assert not has_validation(str(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, "no train part. Expected arrays train_images and train_labels"),
        ({"train_images": np.zeros((2, 8, 8, 3)), "train_labels": [0, 1]}, r"expected images \(N, H, W, 3\) of uint8"),
        ({"train_images": np.zeros((2, 8, 8), np.uint8), "train_labels": [0, 1]}, r"Received: \(2, 8, 8\)"),
        ({"train_images": np.zeros((2, 8, 8, 3), np.uint8), "train_labels": [0, 1, 1]}, "a whole number per image"),
        ({"train_images": np.zeros((2, 8, 8, 3), np.uint8), "train_labels": [0.0, 1.0]}, "of float64"),
        ({"train_images": np.zeros((2, 8, 8, 3), np.uint8), "train_labels": [-1, 1]}, "expected labels in 0..1"),
    ],
)
def test_refuses_other_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TransferError, match=message):
        open_images(str(tmp_path / "a.npz"), "train")


def test_refuses_damaged_files_and_never_unpickles(tmp_path):
    path = image_data.write_npz(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TransferError, match=r"a.npz: not a readable .npz file"):
        open_images(str(path), "train")
    np.savez(path, train_images=np.array([object()]), train_labels=np.array([0]))
    with pytest.raises(TransferError, match="array 'train_images' cannot be read"):
        open_images(str(path), "train")
