"""What an evaluation says of each class."""

from __future__ import annotations

import numpy as np

from weight_transfer.description import MADE_HERE, Description
from weight_transfer.resnet.dialects import design
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.training import Evaluation, confusion_matrix


def test_confusion_counts_rows_of_classes_and_columns_of_guesses():
    labels, guesses = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    matrix = confusion_matrix(labels, guesses, 4)
    np.testing.assert_array_equal(matrix, [[1, 2, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    parts = confusion_matrix(labels[:2], guesses[:2], 4) + confusion_matrix(labels[2:], guesses[2:], 4)
    np.testing.assert_array_equal(matrix, parts)


def test_classes_by_recall_precision_and_what_they_are_taken_for():
    matrix = np.array([[1, 2, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    found = Evaluation(
        1.5, matrix, ("a", "b", "c", "d"), "the test images", Description(resnet_graph(design(18)), MADE_HERE)
    )
    assert (found.num_images, found.accuracy) == (6, 2 / 6)
    rows = {row.name: row for row in found.rows()}
    assert (rows["a"].images, rows["a"].recall, rows["a"].precision, rows["a"].mistaken_for) == (3, 1 / 3, 1 / 2, "b")
    assert (rows["c"].recall, rows["c"].precision) == (0.0, None)
    assert (rows["d"].images, rows["d"].recall, rows["d"].mistaken_for) == (0, None, None)
    said = found.to_dict()
    assert said["confusion"] == matrix.tolist()
    assert (said["measured_on"], said["image_loading"]) == ("the test images", "opencv")
    assert (said["preprocessing"]["name"], said["preprocessing"]["certainty"]) == ("caffe", "guessed")
