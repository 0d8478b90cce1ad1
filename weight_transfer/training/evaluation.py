"""How well a model does on some images: loss, accuracy, and what is taken for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.description import Description


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        loss: Mean over the images.
        confusion: (K, K), how many images of class (row) were taken for class (column).
        class_names: By label.
        measured_on: Which images, in words.
        known: The network, and what was done to its images.
    """

    loss: float
    confusion: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    measured_on: str
    known: Description

    @property
    def num_images(self) -> int:
        """How many images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of the images whose most probable class is the label."""
        return float(np.trace(self.confusion) / max(1, self.num_images))

    def rows(self) -> list[ClassRow]:
        """Returns a row per class."""
        return [self._row(label) for label in range(len(self.class_names))]

    def _row(self, label: int) -> ClassRow:
        images, hits = int(self.confusion[label].sum()), int(self.confusion[label, label])
        guesses = int(self.confusion[:, label].sum())
        wrong = self.confusion[label].copy()
        wrong[label] = 0
        mistaken = self.class_names[int(wrong.argmax())] if wrong.any() else None
        return ClassRow(
            self.class_names[label],
            images,
            hits / images if images else None,
            hits / guesses if guesses else None,
            mistaken,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON can hold it."""
        return {
            "images": self.num_images,
            "measured_on": self.measured_on,
            **self.known.input_as_dict(),
            "image_loading": self.known.loading,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "classes": [dict(row.__dict__) for row in self.rows()],
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        name: Of the class.
        images: How many there are.
        recall: Share of them that were known; None without any.
        precision: Share of what was taken for the class that is of it; None where nothing was.
        mistaken_for: The class that the others were taken for most often, or None.
    """

    name: str
    images: int
    recall: float | None
    precision: float | None
    mistaken_for: str | None


def confusion_matrix(
    labels: npt.NDArray[np.int64], guesses: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """Returns (classes, classes) counts; matrices of parts of the images add up.

    Args:
        labels: (N,).
        guesses: (N,), the most probable class.
        classes: How many there are.
    """
    counts = np.bincount(labels * classes + guesses, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)
