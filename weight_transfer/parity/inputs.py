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
from weight_transfer.network import Network, channels_last, input_shapes

DEFAULT_SIZE = 224
# Photographs that scikit-image carries in its wheel: skimage.data.
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")


@dataclass(frozen=True)
class Case:
    """One batch of inputs.

    Attributes:
        name: What it is.
        arrays: For each input of the network (N, ...), channels last where the network's are: uint8
            RGB where ``raw``, else float32 network inputs.
        raw: Whether each side preprocesses it by its own means.
    """

    name: str
    arrays: tuple[npt.NDArray[Any], ...]
    raw: bool


def cases(network: Network, *, any_size: bool, num_photographs: int = 2, seed: int = 0) -> list[Case]:
    """Draws the inputs for a network.

    Args:
        network: Whose inputs.
        any_size: Whether it takes other sizes too.
        num_photographs: How many photographs, at most four.
        seed: Of the noise.

    Returns:
        For a network of images, photographs at its size; one at 97 x 225 or, for small networks, at
        the next odd sizes; impulses, constants and noise at an odd size. For any other, impulses,
        constants and noise.
    """
    shapes = list(input_shapes(network).values())
    image = len(shapes) == 1 and len(shapes[0]) == 3 and channels_last(network)
    if not image:
        arrays = tuple(_probes(_known(shape), seed + number) for number, shape in enumerate(shapes))
        return [Case("impulse, constants, noise", arrays, raw=False)]
    height, width, channels = _known(shapes[0])
    at_size = photographs((height, width), channels, num_photographs)
    odd = (97, 225) if min(height, width) >= 97 else (height + 1 - height % 2, width + 3 - width % 2)
    odd = odd if any_size else (height, width)
    crop = photographs(odd, channels, num_photographs)[-1:]
    probe = (min(height, 65), min(width, 71)) if any_size else (height, width)
    return [
        Case(f"photographs {height}x{width}", (at_size,), raw=True),
        Case(f"photograph {odd[0]}x{odd[1]}", (crop,), raw=True),
        Case(f"impulse, constants, noise {probe[0]}x{probe[1]}", (_probes((*probe, channels), seed),), raw=False),
    ]


def _known(shape: Sequence[int | None]) -> tuple[int, ...]:
    """A size for every free one: 224 for images, 64 for anything else."""
    default = DEFAULT_SIZE if len(shape) == 3 else 64
    *free, last = shape
    return (*(n or default for n in free), last or (3 if len(shape) == 3 else default))


def photographs(size: tuple[int, int], channels: int = 3, count: int = len(PHOTOGRAPHS)) -> npt.NDArray[Any]:
    """Returns real photographs, (count, H, W, C) uint8, RGB or grey.

    Raises:
        VerificationError: scikit-image, which carries them, is not installed.
    """
    return np.stack([_channels(_resize(_photograph(name), *size), channels) for name in PHOTOGRAPHS[:count]])


def _probes(shape: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    """Two impulses, a constant per channel, noise: (3, *shape)."""
    impulse = np.zeros(shape, np.float32)
    *size, channels = shape
    middle = tuple(n // (3 - position % 2) for position, n in enumerate(size))
    impulse[(*middle, 0)] = 255  # off the middle: a flipped kernel shows
    impulse[(-1,) * len(shape)] = 255  # in the corner that asymmetric padding moves
    constants = np.broadcast_to(np.linspace(-120, 150, channels, dtype=np.float32), shape)
    noise = np.random.default_rng(seed).normal(0, 60, shape).astype(np.float32)
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
    """Returns the cases' arrays under the keys that both sides read: ``case0/0``, ``case0/1``, ``case1/0``, ..."""
    return {
        f"case{index}/{number}": np.ascontiguousarray(array)
        for index, case in enumerate(some_cases)
        for number, array in enumerate(case.arrays)
    }
