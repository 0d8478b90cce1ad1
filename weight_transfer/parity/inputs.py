"""What the two models are shown: photographs, an odd size, impulses, constants, noise.

Ones, or noise alone, hide mistakes: a shifted stride or a missing pad shows at edges and at odd
sizes, swapped channels only where channels differ.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import VerificationError

DEFAULT_SIZE = 224
# Photographs that scikit-image carries in its wheel: skimage.data.
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")


@dataclass(frozen=True)
class Case:
    """One batch of inputs.

    Attributes:
        name: What it is.
        images: (N, H, W, C): uint8 RGB where ``raw``, else float32 network inputs.
        raw: Whether each side preprocesses it by its own means.
    """

    name: str
    images: npt.NDArray[Any]
    raw: bool


def cases(in_shape: Sequence[int | None], *, any_size: bool, num_photographs: int = 2, seed: int = 0) -> list[Case]:
    """Draws the inputs for a network.

    Args:
        in_shape: (H, W, C) of the network.
        any_size: Whether it takes other sizes too.
        num_photographs: How many photographs, at most four.
        seed: Of the noise.

    Returns:
        Photographs at the network's size; a crop of one at 97 x 225 or, for small networks, at
        the next odd sizes; impulses, constants and noise at an odd size.
    """
    height, width = (n or DEFAULT_SIZE for n in in_shape[:2])
    channels = in_shape[2] or 3
    at_size = photographs((height, width), channels, num_photographs)
    odd = (97, 225) if min(height, width) >= 97 else (height + 1 - height % 2, width + 3 - width % 2)
    odd = odd if any_size else (height, width)
    crop = photographs(odd, channels, num_photographs)[-1:]
    probe = (min(height, 65), min(width, 71)) if any_size else (height, width)
    return [
        Case(f"photographs {height}x{width}", at_size, raw=True),
        Case(f"photograph {odd[0]}x{odd[1]}", crop, raw=True),
        Case(f"impulse, constants, noise {probe[0]}x{probe[1]}", _probes(probe, channels, seed), raw=False),
    ]


def photographs(size: tuple[int, int], channels: int = 3, count: int = len(PHOTOGRAPHS)) -> npt.NDArray[Any]:
    """Returns real photographs, (count, H, W, C) uint8, RGB or grey.

    Raises:
        VerificationError: scikit-image, which carries them, is not installed.
    """
    return np.stack([_channels(_resize(_photograph(name), *size), channels) for name in PHOTOGRAPHS[:count]])


def _probes(size: tuple[int, int], channels: int, seed: int) -> npt.NDArray[Any]:
    generator = np.random.default_rng(seed)
    impulse = np.zeros((*size, channels), np.float32)
    impulse[size[0] // 3, size[1] // 2, 0] = 255  # off the middle: a flipped kernel shows
    impulse[-1, -1, -1] = 255  # in the corner that asymmetric padding moves
    constants = np.broadcast_to(np.linspace(-120, 150, channels, dtype=np.float32), (*size, channels))
    noise = generator.normal(0, 60, (*size, channels)).astype(np.float32)
    return np.stack([impulse, constants, noise])


def _photograph(name: str) -> npt.NDArray[Any]:
    if importlib.util.find_spec("skimage") is None:
        raise VerificationError(
            "verification shows both models real photographs, which scikit-image carries. "
            "Install them: pip install 'keras-resnet-to-torch[verify]'"
        )
    import skimage.data

    image: npt.NDArray[Any] = getattr(skimage.data, name)()
    return image[..., :3]


def _resize(photo: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    from PIL import Image

    resized: npt.NDArray[Any] = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    return resized


def _channels(photo: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """RGB as it is; the grey image for one channel; RGB again and again for more."""
    if channels == 1:
        grey: npt.NDArray[Any] = photo.mean(axis=-1, keepdims=True).astype(np.uint8)
        return grey
    repeats = -(-channels // 3)
    return np.concatenate([photo] * repeats, axis=-1)[..., :channels]


def arrays_of(some_cases: Sequence[Case]) -> Mapping[str, npt.NDArray[Any]]:
    """Returns the cases' images under the keys that both sides read: ``case0``, ``case1``, ..."""
    return {f"case{index}": np.ascontiguousarray(case.images) for index, case in enumerate(some_cases)}
