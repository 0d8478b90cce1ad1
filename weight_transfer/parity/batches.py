"""The batches of a training run, the same for both sides: other images at every step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from weight_transfer.data import ImageSet, ImageStream
from weight_transfer.errors import TransferError
from weight_transfer.graph import Graph
from weight_transfer.parity.inputs import (
    PHOTOGRAPHS,
    Case,
    in_channels,
    known_shape,
    noise,
    photograph,
    resized,
    under_noise,
)

SIZE = 64  # of networks that take any: as small as a ResNet's last feature map has more than one place
LEAST_CROP = 0.4  # of a photograph's shorter side

Pixels = npt.NDArray[np.uint8]


def training_batches(
    network: Graph,
    num_steps: int,
    batch_size: int,
    *,
    any_size: bool,
    images: ImageSet | ImageStream | None = None,
    seed: int = 0,
) -> list[Case]:
    """Draws the batches.

    Args:
        network: Whose inputs.
        num_steps: How many batches.
        batch_size: Images of each.
        any_size: Whether it takes other sizes than its own: then 64 x 64 at most.
        images: To draw from, with their labels; by default, crops of the photographs of `inputs`, each
            photograph a class. A network that takes something else than images is shown noise.
        seed: Of all that is drawn.

    Returns:
        One case for each step, ``step 1`` and so on.

    Raises:
        TransferError: ``images`` is a stream, or the network takes no images.
        VerificationError: scikit-image, which carries the photographs, is not installed.
    """
    shapes = list(network.inputs.values())
    takes_images = len(shapes) == 1 and len(shapes[0]) == 3 and network.channels_last
    if images is not None and not takes_images:
        raise TransferError("the network takes no images, channels last. Leave --data out: it is shown noise.")
    if isinstance(images, ImageStream):
        raise TransferError("a stream of shards has no images to draw from. Expected an archive, .npz or a folder.")
    random = np.random.default_rng(seed)
    steps = range(1, num_steps + 1)
    if not takes_images:
        known = [known_shape(shape, channels_last=network.channels_last) for shape in shapes]
        return [
            Case(
                f"step {step}",
                tuple(noise((batch_size, *shape), int(random.integers(2**32))) for shape in known),
                raw=False,
                check="training",
            )
            for step in steps
        ]
    height, width, channels = known_shape(shapes[0])
    size = (min(height, SIZE), min(width, SIZE)) if any_size else (height, width)
    cases = []
    for step in steps:
        pixels, labels = zip(*_drawn(images, batch_size, size, random), strict=True)
        batch = under_noise(np.stack([in_channels(image, channels) for image in pixels]), random)
        cases.append(Case(f"step {step}", (batch,), raw=True, check="training", labels=labels))
    return cases


def _drawn(
    images: ImageSet | None, count: int, size: tuple[int, int], random: np.random.Generator
) -> Iterator[tuple[Pixels, int]]:
    """Yields images of one size, (H, W, 3), with their labels."""
    for _ in range(count):
        if images is None:
            label = int(random.integers(len(PHOTOGRAPHS)))
            yield resized(_crop(photograph(PHOTOGRAPHS[label]), random), *size), label
        else:
            index = int(random.integers(len(images)))
            yield resized(images.image(index, "opencv"), *size), int(images.labels[index])


def _crop(photo: Pixels, random: np.random.Generator) -> Pixels:
    """A square of a photograph, anywhere in it."""
    shorter = min(photo.shape[:2])
    side = int(random.integers(int(shorter * LEAST_CROP), shorter + 1))
    top, left = (int(random.integers(length - side + 1)) for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])
