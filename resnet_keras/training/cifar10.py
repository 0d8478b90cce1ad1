"""CIFAR-10 by Keras's own loader, which downloads it once."""

from __future__ import annotations

import numpy as np
from keras.datasets import cifar10

from weight_transfer.data import ArrayImages, Part
from weight_transfer.data.cifar10 import CLASS_NAMES
from weight_transfer.errors import TransferError


def download_cifar10(part: Part) -> ArrayImages:
    """Returns CIFAR-10's training or test images.

    Raises:
        TransferError: It cannot be downloaded.
    """
    try:
        train, test = cifar10.load_data()
    except Exception as error:  # Keras wraps whatever the network says in a plain Exception
        raise TransferError(
            f"CIFAR-10 cannot be downloaded ({error}). Name its archive or folder instead, or an .npz file."
        ) from error
    images, labels = test if part == "test" else train
    return ArrayImages(np.asarray(images), np.asarray(labels).reshape(-1).astype(np.int64), CLASS_NAMES)
