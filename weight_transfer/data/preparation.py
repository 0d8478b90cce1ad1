"""From an image as it is stored to the network's input: cropped, resized, augmented, preprocessed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weight_transfer.data.augmentation import draw, warp
from weight_transfer.data.image_set import Pixels
from weight_transfer.images import WAYS, Crop, ImageLoading, fitted
from weight_transfer.preprocessing import PRESETS, Preprocessing, preprocess


@dataclass(frozen=True)
class Preparation:
    """How images become inputs; by default the tutorial's way.

    Attributes:
        size: (H, W) of the network's input.
        preprocessing: What is done to its pixels.
        augment_seed: Seed of the augmentation, or None for none.
        loading: How image files become pixels, and are resized.
        crop: What is cut out of the centre.
    """

    size: tuple[int, int]
    preprocessing: Preprocessing = PRESETS["caffe"]
    augment_seed: int | None = None
    loading: ImageLoading = "opencv"
    crop: Crop = None

    def pixels(self, image: Pixels, epoch: int, index: int) -> Pixels:
        """Returns an image of the network's size, (H, W, 3).

        Args:
            image: (H, W, 3), of any size, loaded in the same way.
            epoch: From 0; matters to the augmentation alone.
            index: Of the image, likewise.
        """
        resized: Pixels = fitted(image, self.size, self.crop, WAYS[self.loading].resize)
        return resized if self.augment_seed is None else warp(resized, draw(self.augment_seed, epoch, index))

    def batch(self, images: Iterable[Pixels]) -> npt.NDArray[np.float32]:
        """Returns the network's input, (N, H, W, 3) of float32, from what `pixels` gave."""
        stacked = list(images)
        if not stacked:  # a rank may have no part in an epoch's short last batch
            return np.zeros((0, *self.size, 3), np.float32)
        x: npt.NDArray[np.float32] = preprocess(np.stack(stacked), self.preprocessing)
        return x
