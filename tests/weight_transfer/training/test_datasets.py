"""A recipe's data: what is learned from, validated on and tested on, and in which order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import image_data
import numpy as np
import pytest

from weight_transfer.data import ArrayImages, Shuffled, split
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.errors import TransferError
from weight_transfer.preprocessing import Preprocessing
from weight_transfer.resnet.dialects import design
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.training import Recipe, RunFolder
from weight_transfer.training.datasets import evaluation_images, training_images

SIZE = (16, 16)
KNOWN = Description(resnet_graph(design(18, in_shape=(*SIZE, 3))), MADE_HERE)


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    path = image_data.write_npz(tmp_path / "a.npz", train=25, test=7)
    return Recipe(data=str(path), output=str(tmp_path / "run"), batch_size=4, seed=5)


def indices(batches, epoch: int = 0) -> list[int]:
    return [n for i in range(len(batches)) for n in batches.batch(epoch, i).indices.tolist()]


def test_a_split_by_seed_shuffled_by_another(recipe):
    train, validation = training_images(recipe).batches(SIZE, KNOWN)
    learned, validated = split(25, 2021, 0.2)
    assert indices(validation) == indices(validation, 1) == validated.tolist()
    assert indices(train, 1) == Shuffled(learned, 5)(1).tolist()
    other = dataclasses.replace(recipe, split_seed=1)
    assert indices(training_images(other).batches(SIZE, KNOWN)[1]) == split(25, 1)[1].tolist()


def test_augmentation_is_for_what_is_learned_from(recipe):
    train, validation = training_images(dataclasses.replace(recipe, augment=True)).batches(SIZE, KNOWN)
    assert (train.preparation.augment_seed, validation.preparation.augment_seed) == (5, None)


def test_an_order_file_makes_the_batches_of_the_run_that_wrote_it(recipe, tmp_path):
    path = str(tmp_path / "order.npz")
    first, _ = training_images(dataclasses.replace(recipe, write_order=path, epochs=2)).batches(SIZE, KNOWN)
    second, _ = training_images(dataclasses.replace(recipe, order=path, epochs=2, seed=6)).batches(SIZE, KNOWN)
    for epoch in range(2):
        assert indices(first, epoch) == indices(second, epoch)
    with pytest.raises(TransferError, match=r"the order of 2 epochs. Expected 3"):
        training_images(dataclasses.replace(recipe, order=path, epochs=3)).batches(SIZE, KNOWN)


def test_a_part_of_its_own_is_validated_on(tmp_path):
    recipe = Recipe(data=str(image_data.write_tree(tmp_path)), output="run", batch_size=4)
    images = training_images(recipe)
    train, validation = images.batches(SIZE, KNOWN)
    assert images.class_names == image_data.CLASSES
    assert sorted(indices(train)) == sorted(indices(validation)) == list(range(9))
    assert "val" in validation.images.files[0]
    assert not np.array_equal(train.batch(0, 0).x, validation.batch(0, 0).x)


def test_parts_to_evaluate_on_come_once_and_in_order(recipe):
    plain = dataclasses.replace(recipe, augment=True, steps=1, write_order="/no/such/folder/x")
    assert indices(evaluation_images(plain, "test", SIZE, KNOWN).batches) == list(range(7))
    assert indices(evaluation_images(plain, "train", SIZE, KNOWN).batches) == sorted(split(25)[0].tolist())
    assert indices(evaluation_images(plain, "validation", SIZE, KNOWN).batches) == split(25)[1].tolist()


def test_so_many_images_and_steps(recipe):
    few = dataclasses.replace(recipe, images=10, steps=1)
    train, validation = training_images(few).batches(SIZE, KNOWN)
    assert (len(train), train.num_images, len(validation.order(0))) == (1, 4, 2)
    assert len(evaluation_images(dataclasses.replace(recipe, images=5), "test", SIZE, KNOWN).batches.order(0)) == 5


def test_shards(tmp_path):
    image_data.write_shards(tmp_path / "x")
    recipe = Recipe(data=str(tmp_path / "x"), output="run", classes=3, batch_size=5, seed=1)
    train, validation = training_images(recipe).batches(SIZE, KNOWN)
    seen = [{n for _, batch in one.stream(0) for n in batch.indices.tolist()} for one in (train, validation)]
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 24
    assert sum(size for size, _ in evaluation_images(recipe, "test", SIZE, KNOWN).batches.stream(0)) == 24
    learned = evaluation_images(recipe, "train", SIZE, KNOWN).batches.stream(0)
    assert {n for _, batch in learned for n in batch.indices.tolist()} == seen[0]
    with pytest.raises(TransferError, match="of which --images takes no part"):
        training_images(dataclasses.replace(recipe, images=5))
    with pytest.raises(TransferError, match="an order file has no place there"):
        training_images(dataclasses.replace(recipe, order="x")).batches(SIZE, KNOWN)


def test_cifar10_is_the_frameworks_to_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(data="cifar10", output="run")
    asked = []

    def cifar10(part):
        asked.append(part)
        return ArrayImages(image_data.pixels(10), np.arange(10), tuple("abcdefghij"))

    assert training_images(recipe, cifar10).class_names == tuple("abcdefghij")
    evaluation_images(recipe, "test", SIZE, KNOWN, cifar10)
    assert asked == ["train", "test"]
    with pytest.raises(TransferError, match="downloaded by a framework"):
        training_images(recipe)
    image_data.write_tree(tmp_path / "cifar10")  # a folder of that name comes first
    assert training_images(recipe).class_names == image_data.CLASSES


def test_images_become_what_the_network_brings(recipe):
    """Its preprocessing, its way of loading, its crop: the same images on both sides, whatever they are."""
    own = Preprocessing(divisor=255.0, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), channel_order="BGR")
    known = dataclasses.replace(KNOWN, said_preprocessing=own, image_loading="resizing", crop=(20, 24))
    made = evaluation_images(recipe, "test", SIZE, known).batches.batch(0, 0)
    pixels = image_data.pixels(7, seed=1)[:1]
    assert made.x.shape == (4, 16, 16, 3)
    assert made.x.dtype == np.float32
    train, _ = training_images(recipe).batches(SIZE, known)
    assert train.preparation == evaluation_images(recipe, "test", SIZE, known).batches.preparation
    assert (train.preparation.preprocessing, train.preparation.loading, train.preparation.crop) == (
        own,
        "resizing",
        (20, 24),
    )
    assert pixels.dtype == np.uint8


def begun(recipe: Recipe) -> Recipe:
    """A run that has opened its images."""
    RunFolder(Path(recipe.output)).begin(recipe, "resnet_torch", {})
    training_images(recipe).batches(SIZE, KNOWN)
    return recipe


def files_of(batches) -> set[str]:
    return {batches.images.files[n] for n in indices(batches)}


def test_a_flat_folder_is_measured_on_what_its_run_kept_apart(tmp_path):
    """Neither a file more in the folder nor another seed makes an image that was learned from a new one."""
    root = image_data.write_tree(tmp_path / "data", parts=("",))
    run = begun(Recipe(data=str(root), output=str(tmp_path / "run"), batch_size=4))
    train, validation = training_images(run).batches(SIZE, KNOWN)
    learned, kept = files_of(train), files_of(validation)
    assert len(learned) + len(kept) == 9
    first = next(iter(sorted(learned)))
    copied = Path(first).with_name("0000-new" + Path(first).suffix)
    copied.write_bytes(Path(first).read_bytes())
    for again in (run, dataclasses.replace(run, split_seed=5, validation_share=0.5)):
        found = evaluation_images(again, None, SIZE, KNOWN)
        assert files_of(found.batches) == kept
        assert found.words == "the validation images, which training did not learn from"
        assert files_of(evaluation_images(again, "train", SIZE, KNOWN).batches) == learned
        with pytest.raises(TransferError, match=r"has no test images, and the run .* learned from most of it"):
            evaluation_images(again, "test", SIZE, KNOWN)
    begun(dataclasses.replace(run, split_seed=5))  # a new run in the folder splits anew
    assert files_of(evaluation_images(run, None, SIZE, KNOWN).batches) != kept


def test_another_folder_is_measured_whole(tmp_path):
    root = image_data.write_tree(tmp_path / "data", parts=("",))
    other = image_data.write_tree(tmp_path / "other", parts=("",))
    run = begun(Recipe(data=str(root), output=str(tmp_path / "run"), batch_size=4))
    found = evaluation_images(dataclasses.replace(run, data=str(other)), None, SIZE, KNOWN)
    assert len(indices(found.batches)) == 9
    assert found.words == f"all images of {other}, whether or not training saw them"
    alone = dataclasses.replace(run, output=str(tmp_path))
    assert evaluation_images(alone, "test", SIZE, KNOWN).words.startswith("all images of ")


def test_the_part_that_was_measured_is_said(recipe, tmp_path):
    assert evaluation_images(recipe, None, SIZE, KNOWN).words == "the test images"
    assert evaluation_images(recipe, "validation", SIZE, KNOWN).words == "the validation images"
    assert evaluation_images(recipe, "train", SIZE, KNOWN).words == "the training images"
    tree = image_data.write_tree(tmp_path / "tree", parts=("train", "val"))
    two = Recipe(data=str(tree), output=str(tmp_path / "run"))
    assert evaluation_images(two, None, SIZE, KNOWN).words == "the validation images"
    assert evaluation_images(two, "test", SIZE, KNOWN).words == "the validation images: there are no test images"


def test_shards_are_measured_on_what_their_run_kept_apart(tmp_path):
    image_data.write_shards(tmp_path / "x")
    run = begun(Recipe(data=str(tmp_path / "x"), output=str(tmp_path / "run"), classes=3, batch_size=5))
    _, validation = training_images(run).batches(SIZE, KNOWN)
    expected, found = (
        {n for _, b in one.stream(0) for n in b.indices.tolist()}
        for one in (validation, evaluation_images(run, None, SIZE, KNOWN).batches)
    )
    assert found == expected
    assert 0 < len(found) < 24


def test_a_damaged_split_is_refused(tmp_path):
    root = image_data.write_tree(tmp_path / "data", parts=("",))
    run = begun(Recipe(data=str(root), output=str(tmp_path / "run")))
    split_file = RunFolder(tmp_path / "run").split
    split_file.write_text("{}")
    with pytest.raises(TransferError, match=r"split.json: not a run's split"):
        evaluation_images(run, None, SIZE, KNOWN)
    split_file.write_text('{"train": ["gone.png"], "validation": ["too.png"]}')
    with pytest.raises(TransferError, match="none of its files is left"):
        evaluation_images(run, None, SIZE, KNOWN)
