"""Random flips, shifts, rotations and zooms: one affine warp per image, drawn from (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weight_transfer.data.image_set import Pixels
from weight_transfer.data.order import AUGMENTATION_DRAW

MOST_SHIFT = 0.125  # of the height and of the width: 4 of CIFAR-10's 32 pixels, as in He et al. 2015, section 4.2
MOST_DEGREES = 10.0
MOST_ZOOM = 0.1


@dataclass(frozen=True)
class Warp:
    """What is done to one image.

    Attributes:
        flip: Whether left and right change places.
        shift: Down and to the right, as shares of height and width.
        degrees: Counter-clockwise, about the middle.
        zoom: Above 1 enlarges.
    """

    flip: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    degrees: float = 0.0
    zoom: float = 1.0

    def matrix(self, height: int, width: int) -> npt.NDArray[np.float64]:
        """Returns the (2, 3) matrix from a place (x, y, 1) in the image to its place in the result."""
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        angle = np.deg2rad(self.degrees)
        turn = self.zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([-1.0 if self.flip else 1.0, 1.0])
        move = np.array([self.shift[1] * width, self.shift[0] * height])
        return np.column_stack([linear, middle - linear @ middle + move])


def draw(seed: int, epoch: int, index: int) -> Warp:
    """Draws an image's warp, the same on both sides, whatever the workers, ranks and restarts.

    Args:
        seed: Of the run.
        epoch: From 0.
        index: Of the image in its set.
    """
    random = np.random.default_rng((seed, AUGMENTATION_DRAW, epoch, index))
    flip = bool(random.integers(2))
    down, right, turn, zoom = random.uniform(-1.0, 1.0, 4).tolist()
    return Warp(flip, (MOST_SHIFT * down, MOST_SHIFT * right), MOST_DEGREES * turn, 1 + MOST_ZOOM * zoom)


def warp(image: Pixels, how: Warp) -> Pixels:
    """Returns the warped image, of the same size, mirrored at its edges.

    Args:
        image: (H, W, 3), uint8 or float32.
        how: What to do.
    """
    import cv2

    height, width = image.shape[:2]
    matrix = how.matrix(height, width)
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(image.dtype, copy=False)
