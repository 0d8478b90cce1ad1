"""What happens to an image before the network, in NumPy: keras.applications' three modes.

Source: keras/src/applications/imagenet_utils.py, _preprocess_numpy_input, operation for operation
in the images' own float dtype, so that the results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.architecture import Preprocessing
from weight_transfer.errors import TransferError

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)

Image = npt.NDArray[Any]


def preprocess(images: Image, mode: Preprocessing) -> Image:
    """Returns network inputs of RGB images in 0..255: float32, or the dtype of images that are floats already.

    Args:
        images: (..., H, W, C), channels last. The colour modes apply to three channels; other
            images are left as they are, as their training code must have fed them.
        mode: ``caffe``: BGR, minus ImageNet's mean. ``tf``: to -1..1. ``torch``: to 0..1, then
            ImageNet's mean and standard deviation. ``none``.

    Raises:
        TransferError: There is no such mode.
    """
    if mode not in MODES:
        raise TransferError(f"preprocessing must be one of {tuple(MODES)}. Received: {mode!r}")
    x = images.astype(images.dtype if np.issubdtype(images.dtype, np.floating) else np.float32)
    return MODES[mode](x) if x.shape[-1] == 3 or mode == "tf" else x


def _caffe(x: Image) -> Image:
    x = x[..., ::-1].copy()
    for channel, mean in enumerate(CAFFE_MEAN_BGR):
        x[..., channel] -= mean
    return x


def _tf(x: Image) -> Image:
    x /= 127.5
    x -= 1.0
    return x


def _torch(x: Image) -> Image:
    x /= 255.0
    for channel, (mean, std) in enumerate(zip(TORCH_MEAN_RGB, TORCH_STD_RGB, strict=True)):
        x[..., channel] -= mean
        x[..., channel] /= std
    return x


MODES: Mapping[str, Callable[[Image], Image]] = {"caffe": _caffe, "tf": _tf, "torch": _torch, "none": lambda x: x}
