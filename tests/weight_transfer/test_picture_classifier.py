"""What pictures a network takes, and what it says of them, by its description alone."""

from __future__ import annotations

import dataclasses

import checkpoints
import pytest
from handmade_graphs import dense, network, row

from weight_transfer.architecture import Head
from weight_transfer.errors import TransferError
from weight_transfer.graph import Graph
from weight_transfer.picture_classifier import PictureClassifier, picture_classifier
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph


def graph(*shapes: tuple[int | None, ...], data_format: str = "channels_last", outputs: tuple[str, ...] = ("in0",)):
    inputs = {f"in{number}": shape for number, shape in enumerate(shapes)}
    return Graph("made up", {}, (), inputs, outputs, data_format=data_format)


def test_a_resnet_by_its_architecture():
    assert picture_classifier(resnet_graph(checkpoints.small())) == PictureClassifier((33, 33), 3, 10, binary=False)
    free = checkpoints.small(in_shape=(None, None, 1))
    assert picture_classifier(resnet_graph(free)) == PictureClassifier(None, 1, 10, binary=False)


def test_a_head_of_its_own_decides_the_classes():
    backbone = checkpoints.small(head=Head(pooling=None, classes=None))
    pool = row("GlobalAveragePooling2D", "pool", ["image"])
    head = network(pool, dense("classes", "pool", 7), shape=(3, 3, 12), outputs=[["classes", 0, 0]])
    assert picture_classifier(with_own_head(backbone, head)) == PictureClassifier((33, 33), 3, 7, binary=False)


def test_a_graph_without_classes_or_without_a_picture_is_refused():
    with pytest.raises(TransferError, match=r"made up takes no picture. .* Received: in0 100 x 1"):
        picture_classifier(graph((100, 1)))
    with pytest.raises(TransferError, match=r"takes no picture. .* Received: in0 8 x 8 x 17"):
        picture_classifier(graph((8, 8, 17)))
    with pytest.raises(TransferError, match=r"Received: in0 8 x 8 x 3, in1 4$"):
        picture_classifier(graph((8, 8, 3), (4,)))
    with pytest.raises(TransferError, match=r"made up names no classes. .* Received: \? x 8 x 3"):
        picture_classifier(graph((None, 8, 3)))


def test_channels_first_is_told_from_the_data_format():
    with pytest.raises(TransferError, match=r"names no classes. .* Received: 3 x 8 x 9"):
        picture_classifier(graph((3, 8, 9), data_format="channels_first"))
    with pytest.raises(TransferError, match="takes no picture"):
        picture_classifier(graph((8, 9, 3), data_format="channels_first"))


def test_a_resnet_without_a_classifier_is_refused():
    headless = dataclasses.replace(checkpoints.small(), head=Head(classes=None))
    with pytest.raises(TransferError, match=r"ResNet-\d+ names no classes. .* Received: a feature map"):
        picture_classifier(resnet_graph(headless))
