"""Loading as ``cv2.resize(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB), (width, height))``.

RGB at the end, as all preprocessing expects it: the tutorial turns it to BGR with ``caffe`` and not before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import ImageError
from weight_transfer.images.truncated import refuse_truncated


def load(data: bytes, size: tuple[int, int] | None, channels: int) -> npt.NDArray[Any]:
    """Returns (H, W, channels), uint8.

    Args:
        data: The file's bytes.
        size: (H, W) to resize to, or None.
        channels: 3, or 1 for ``cv2.IMREAD_GRAYSCALE``.
    """
    import cv2

    refuse_truncated(data)  # OpenCV fills in grey for what is missing, and says nothing
    mode = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE
    image: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise ImageError("OpenCV cannot read it. Expected a JPEG, PNG or another format of its own.")
    if channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if size is not None:
        image = resize(image, size)
    return image if image.ndim == 3 else image[..., np.newaxis]


def resize(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resizes bilinearly as ``cv2.resize`` does: whole numbers stay whole.

    Args:
        image: (H, W, C) or (H, W).
        size: (H, W) of the result.
    """
    import cv2

    resized: npt.NDArray[Any] = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return resized if resized.ndim == image.ndim else resized[..., np.newaxis]  # which OpenCV leaves out
