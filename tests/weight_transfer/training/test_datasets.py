"""A recipe's data: what is learned from, validated on and tested on, and in which order."""

from __future__ import annotations

import dataclasses

import image_data
import numpy as np
import pytest

from weight_transfer.data import ArrayImages, Shuffled, split
from weight_transfer.errors import TransferError
from weight_transfer.training import Recipe
from weight_transfer.training.datasets import evaluation_batches, training_images

SIZE = (16, 16)


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    path = image_data.write_npz(tmp_path / "a.npz", train=25, test=7)
    return Recipe(data=str(path), output=str(tmp_path / "run"), batch_size=4, seed=5)


def indices(batches, epoch: int = 0) -> list[int]:
    return [n for i in range(len(batches)) for n in batches.batch(epoch, i).indices.tolist()]


def test_a_split_by_seed_shuffled_by_another(recipe):
    train, validation = training_images(recipe).batches(SIZE)
    learned, validated = split(25, 2021, 0.2)
    assert indices(validation) == indices(validation, 1) == validated.tolist()
    assert indices(train, 1) == Shuffled(learned, 5)(1).tolist()
    other = dataclasses.replace(recipe, split_seed=1)
    assert indices(training_images(other).batches(SIZE)[1]) == split(25, 1)[1].tolist()


def test_augmentation_is_for_what_is_learned_from(recipe):
    train, validation = training_images(dataclasses.replace(recipe, augment=True)).batches(SIZE)
    assert (train.preparation.augment_seed, validation.preparation.augment_seed) == (5, None)


def test_an_order_file_makes_the_batches_of_the_run_that_wrote_it(recipe, tmp_path):
    path = str(tmp_path / "order.npz")
    first, _ = training_images(dataclasses.replace(recipe, write_order=path, epochs=2)).batches(SIZE)
    second, _ = training_images(dataclasses.replace(recipe, order=path, epochs=2, seed=6)).batches(SIZE)
    for epoch in range(2):
        assert indices(first, epoch) == indices(second, epoch)
    with pytest.raises(TransferError, match=r"the order of 2 epochs. Expected 3"):
        training_images(dataclasses.replace(recipe, order=path, epochs=3)).batches(SIZE)


def test_a_part_of_its_own_is_validated_on(tmp_path):
    recipe = Recipe(data=str(image_data.write_tree(tmp_path)), output="run", batch_size=4)
    images = training_images(recipe)
    train, validation = images.batches(SIZE)
    assert images.class_names == image_data.CLASSES
    assert sorted(indices(train)) == sorted(indices(validation)) == list(range(9))
    assert "val" in validation.images.files[0]
    assert not np.array_equal(train.batch(0, 0).x, validation.batch(0, 0).x)


def test_parts_to_evaluate_on_come_once_and_in_order(recipe):
    plain = dataclasses.replace(recipe, augment=True, steps=1, write_order="/no/such/folder/x")
    assert indices(evaluation_batches(plain, "test", SIZE)) == list(range(7))
    assert indices(evaluation_batches(plain, "train", SIZE)) == sorted(split(25)[0].tolist())
    assert indices(evaluation_batches(plain, "validation", SIZE)) == split(25)[1].tolist()


def test_so_many_images_and_steps(recipe):
    few = dataclasses.replace(recipe, images=10, steps=1)
    train, validation = training_images(few).batches(SIZE)
    assert (len(train), train.num_images, len(validation.order(0))) == (1, 4, 2)
    assert len(evaluation_batches(dataclasses.replace(recipe, images=5), "test", SIZE).order(0)) == 5


def test_shards(tmp_path):
    image_data.write_shards(tmp_path / "x")
    recipe = Recipe(data=str(tmp_path / "x"), output="run", classes=3, batch_size=5, seed=1)
    train, validation = training_images(recipe).batches(SIZE)
    seen = [{n for _, batch in one.stream(0) for n in batch.indices.tolist()} for one in (train, validation)]
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 24
    assert sum(size for size, _ in evaluation_batches(recipe, "test", SIZE).stream(0)) == 24
    assert {
        n for _, batch in evaluation_batches(recipe, "train", SIZE).stream(0) for n in batch.indices.tolist()
    } == seen[0]
    with pytest.raises(TransferError, match="of which --images takes no part"):
        training_images(dataclasses.replace(recipe, images=5))
    with pytest.raises(TransferError, match="an order file has no place there"):
        training_images(dataclasses.replace(recipe, order="x")).batches(SIZE)


def test_cifar10_is_the_frameworks_to_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(data="cifar10", output="run")
    asked = []

    def cifar10(part):
        asked.append(part)
        return ArrayImages(image_data.pixels(10), np.arange(10), tuple("abcdefghij"))

    assert training_images(recipe, cifar10).class_names == tuple("abcdefghij")
    evaluation_batches(recipe, "test", SIZE, cifar10)
    assert asked == ["train", "test"]
    with pytest.raises(TransferError, match="downloaded by a framework"):
        training_images(recipe)
    image_data.write_tree(tmp_path / "cifar10")  # a folder of that name comes first
    assert training_images(recipe).class_names == image_data.CLASSES
