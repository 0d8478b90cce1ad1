"""One training step of the owner's own model: how it was compiled, and the targets that both sides are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from weight_transfer.parity.exact_runs import Floats, random_words

Targets = Literal["class numbers", "classes", "yes or no", "numbers"]
STEP_IMAGES = 2  # of the batch of mirror images


@dataclass(frozen=True)
class TargetDraw:
    """What one output of the model is to become.

    Attributes:
        kind: What its loss takes: ``class numbers``, rows of 0 and one 1 for ``classes``, 0 or 1 for each place
            (``yes or no``), or any ``numbers``.
        shape: Of the target, in Keras's layout, the batch in front.
        classes: How many, where there are some.
    """

    kind: Targets
    shape: tuple[int, ...]
    classes: int = 0


@dataclass(frozen=True)
class OwnerStep:
    """How the owner's own model was trained for one step.

    Attributes:
        case: Which inputs: the first `STEP_IMAGES` of their mirror images.
        loss: As the file says that its model was compiled, or what was taken in its place.
        loss_weights: Likewise.
        keras_version: Of the Keras that wrote the file.
        optimizer: As Keras serializes it, as it was before the step.
        iterations: How many steps it had taken, with the file's slots; 0 where it began anew.
        targets: Of each output.
        names: Of each output, where the model returns a dict.
        notes: What is not as in the file, in words.
    """

    case: str
    loss: Any
    loss_weights: Any
    keras_version: str | None
    optimizer: Mapping[str, Any]
    iterations: int
    targets: tuple[TargetDraw, ...]
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def compiled(self) -> dict[str, Any]:
        """Loss and its weights as `Checkpoint.training` holds them."""
        return {"loss": self.loss, "loss_weights": self.loss_weights}


def target_draw(loss: str, shape: tuple[int, ...]) -> TargetDraw:
    """Returns what a loss takes.

    Args:
        loss: Its name, in any spelling.
        shape: Of the output, channels last, the batch in front.
    """
    name = loss.lower().replace("_", "")
    if name.startswith("sparse"):
        return TargetDraw("class numbers", shape[:-1], shape[-1])
    if name.startswith("categorical"):
        return TargetDraw("classes", shape, shape[-1])
    return TargetDraw("yes or no" if name.startswith(("binary", "bce")) else "numbers", shape)


def drawn_target(number: int, draw: TargetDraw) -> Floats:
    """Returns the target of an output, counted from 0; the same on every machine."""
    places = math.prod(draw.shape) // (draw.classes if draw.kind == "classes" else 1)
    words = random_words(f"target {number}", places)
    if draw.kind == "class numbers":
        return (words % np.uint64(draw.classes)).astype(np.float64).reshape(draw.shape)
    if draw.kind == "classes":
        return np.eye(draw.classes)[(words % np.uint64(draw.classes)).astype(np.intp)].reshape(draw.shape)
    if draw.kind == "yes or no":
        return (words % np.uint64(2)).astype(np.float64).reshape(draw.shape)
    return ((words >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0).reshape(draw.shape)
