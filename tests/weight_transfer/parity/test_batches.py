"""The batches of a training run."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest

from weight_transfer import design
from weight_transfer.data import ArrayImages
from weight_transfer.errors import TransferError
from weight_transfer.graph import Graph
from weight_transfer.parity.batches import training_batches
from weight_transfer.parity.inputs import load_cases, save_cases
from weight_transfer.parity.losses import target
from weight_transfer.resnet.recipe import resnet_graph


def drawn(network=None, **arguments):
    made = network or checkpoints.small()
    graph = made if isinstance(made, Graph) else resnet_graph(made)
    return training_batches(graph, 3, 2, **{"any_size": False, **arguments})


def test_every_step_has_other_images_and_every_draw_the_same():
    cases = drawn()
    assert [case.name for case in cases] == ["step 1", "step 2", "step 3"]
    for case, again in zip(cases, drawn(), strict=True):
        assert case.check == "training"
        assert case.raw
        assert case.arrays[0].shape == (2, 33, 33, 3)
        assert case.arrays[0].dtype == np.uint8
        assert np.array_equal(case.arrays[0], again.arrays[0])
        assert case.labels == again.labels
    assert not np.array_equal(cases[0].arrays[0], cases[1].arrays[0])
    assert not np.array_equal(cases[0].arrays[0], drawn(seed=1)[0].arrays[0])
    assert {label for case in cases for label in case.labels} <= {0, 1, 2, 3}


def test_a_network_of_any_size_is_shown_small_images():
    assert drawn(design(50), any_size=True)[0].arrays[0].shape == (2, 64, 64, 3)
    assert drawn(design(50, in_shape=(96, 80, 3)))[0].arrays[0].shape == (2, 96, 80, 3)


def test_grey_networks_are_shown_grey_images():
    assert drawn(checkpoints.small(in_shape=(33, 33, 1)))[0].arrays[0].shape == (2, 33, 33, 1)


def test_images_of_ones_own_come_with_their_labels():
    pixels = np.broadcast_to(np.arange(5, dtype=np.uint8)[:, None, None, None] * 50, (5, 8, 8, 3))
    images = ArrayImages(pixels, np.arange(5), tuple("abcde"))
    for case in drawn(images=images):
        for image, label in zip(case.arrays[0], case.labels, strict=True):
            assert abs(image.mean() - label * 50) < 15  # but for the noise


def test_what_cannot_be_drawn_from_is_refused():
    class Stream:
        class_names = ()

        def samples(self, random):
            return iter(())

    with pytest.raises(TransferError, match="a stream of shards has no images to draw from"):
        drawn(images=Stream())
    vectors = Graph("vectors", {}, (), {"input": (7,)}, ())
    with pytest.raises(TransferError, match="the network takes no images"):
        drawn(vectors, images=Stream())
    (first, *_) = drawn(vectors)
    assert first.arrays[0].shape == (2, 7)
    assert first.labels is None
    assert not first.raw


def test_labels_pass_through_a_file(tmp_path):
    cases = drawn()
    save_cases(cases, tmp_path / "cases.safetensors")
    assert [case.labels for case in load_cases(tmp_path / "cases.safetensors")] == [case.labels for case in cases]


def test_labels_are_what_a_classifier_is_to_give():
    labels = np.array([7, 2, 5])
    assert target("cross entropy", (3, 5), labels).tolist() == [2, 2, 0]
    assert target("cross entropy", (3, 9), labels).tolist() == [7, 2, 5]
    assert target("cross entropy", (1, 3, 4), labels).shape == (1, 3)  # of places, not of images
    assert target("mean square", (3, 5), labels).tolist() == np.zeros((3, 5)).tolist()
