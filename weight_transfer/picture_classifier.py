"""What a network is to someone who shows it a picture: how large a picture, how many classes, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weight_transfer.errors import TransferError
from weight_transfer.graph import Graph


@dataclass(frozen=True)
class PictureClassifier:
    """A network that takes one picture and tells classes apart.

    Attributes:
        size: (H, W) of the picture, or None where it is free.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        num_outputs: Numbers that it gives.
        binary: Whether it gives one number, the probability of class 1 of two.
    """

    size: tuple[int, int] | None
    channels: int
    num_outputs: int
    binary: bool

    @property
    def num_classes(self) -> int:
        """How many classes it tells apart."""
        return 2 if self.binary else self.num_outputs


@dataclass(frozen=True)
class Guess:
    """One class that a network sees in a picture.

    Attributes:
        number: Of the class, from 0.
        output: What the Keras model gives for it: with softmax, the probability. Of one sigmoid, which is the
            probability of class 1, class 0 has the rest of 1.
    """

    number: int
    output: float


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        path: The image file.
        size: (H, W) as the network saw it.
        total: Sum over all classes: 1 behind a softmax or one sigmoid.
        top: The classes of the largest outputs, the largest first.
    """

    path: Path
    size: tuple[int, int]
    total: float
    top: tuple[Guess, ...]


def picture_classifier(network: Graph) -> PictureClassifier:
    """Returns what pictures a network takes and how many classes it tells apart.

    Args:
        network: What a file holds.

    Raises:
        TransferError: It takes no picture, or gives something other than one number for each class.
    """
    title = network.title or "the network"
    inputs = network.inputs
    shapes = [(*shape[1:], shape[0]) if not network.channels_last else shape for shape in inputs.values()]
    if not network.takes_images:
        received = ", ".join(f"{name} {_text(shape)}" for name, shape in inputs.items())
        raise TransferError(
            f"{title} takes no picture. Expected one input of height, width and 1, 3 or 4 channels. "
            f"Received: {received or 'no inputs'}"
        )
    outputs = _output_shapes(network)
    num_outputs = outputs[0][0] if len(outputs) == 1 and len(outputs[0]) == 1 else None
    if num_outputs is None:
        received = ", ".join(map(_text, outputs)) or "a feature map"
        raise TransferError(f"{title} names no classes. Expected one output, a number for each. Received: {received}")
    height, width, channels = shapes[0]
    size = None if height is None or width is None else (height, width)
    binary = num_outputs == 1 and network.final_activations == ["sigmoid"]
    return PictureClassifier(size, channels or 3, num_outputs, binary)


def _output_shapes(network: Graph) -> list[tuple[int | None, ...]]:
    """Shape of each output without the batch axis; none for a ResNet without a classifier."""
    if network.resnet is not None and network.resnet.head.classes is None:
        return []
    return [network.shapes[value] for value in network.outputs]


def _text(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if n is None else str(n) for n in shape)
