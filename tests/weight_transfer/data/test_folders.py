"""Trees with a folder for each class: torchvision's files, classes and pixels; a broken file is named."""

from __future__ import annotations

import image_data
import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from weight_transfer.data import has_validation, open_images
from weight_transfer.errors import ImageError, TransferError


def test_files_classes_and_pixels_are_those_of_torchvision(tmp_path):
    root = image_data.write_tree(tmp_path)
    for part, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        ours, theirs = open_images(str(root), part), ImageFolder(root / folder)
        assert list(zip(ours.files, ours.labels.tolist(), strict=True)) == theirs.samples
        assert list(ours.class_names) == theirs.classes
        for index, (image, _) in enumerate(theirs):
            np.testing.assert_array_equal(ours.image(index, "opencv"), np.asarray(image))
    assert has_validation(str(root))


def test_a_tree_of_classes_alone_is_whichever_part_is_asked_for(tmp_path):
    root = image_data.write_tree(tmp_path, parts=("",))
    assert open_images(str(root), "train").files == open_images(str(root), "test").files
    assert not has_validation(str(root))


def test_validation_images_are_tested_on_where_there_is_no_test_part(tmp_path):
    root = image_data.write_tree(tmp_path, parts=("train", "val"))
    assert "val" in open_images(str(root), "test").files[0]
    root = image_data.write_tree(tmp_path / "only", parts=("train",))
    with pytest.raises(TransferError, match=r"no folder for the test part. Expected one of test, testing"):
        open_images(str(root), "test")


def test_a_class_that_one_part_lacks_would_shift_the_labels(tmp_path):
    root = image_data.write_tree(tmp_path)
    (root / "val" / "dog").rename(root / "val" / "doge")
    with pytest.raises(TransferError, match=r"its classes are not those of the training part.*In one only: dog, doge"):
        open_images(str(root), "validation")


def test_a_corrupt_image_is_named(tmp_path):
    root = image_data.write_tree(tmp_path)
    images = open_images(str(root), "train")
    broken = root / "train" / "dog" / "y.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"train/dog/y.png: not a readable image"):
        images.image(images.files.index(str(broken)), "opencv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: (root / "cat").mkdir(), "no images in the folders of cat"),
        (lambda root: (root / "file.txt").write_text(""), "no folders in it"),
    ],
)
def test_refuses_folders_that_are_no_such_tree(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(TransferError, match=message):
        open_images(str(tmp_path), "train")


def test_says_what_it_expects_of_what_is_nothing_known(tmp_path):
    with pytest.raises(TransferError, match=r"does not exist. Expected CIFAR-10's archive or its folder"):
        open_images(str(tmp_path / "no"), "train")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(TransferError, match="not data of a known kind"):
        open_images(str(tmp_path / "a.csv"), "train")
