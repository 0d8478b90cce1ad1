"""What the two models are shown: photographs, one of an odd size, and photographs to train on; of other inputs noise.

They say how far rounding carries the two apart, and whether images are prepared alike. That every layer
computes the same is shown by `exact_runs`.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import VerificationError
from weight_transfer.graph import Graph
from weight_transfer.images import WAYS, ImageLoading
from weight_transfer.tensor_file import Content, Kind, Tensor, open_tensor_file

INPUTS = Kind(
    name="input batches",
    format=1,
    expected="what weight_transfer.parity.inputs.save_cases wrote",
    remedy="Verify again.",
    error=VerificationError,
)
DEFAULT_SIZE = 224
TRAINING_BATCH = 4
MOST_PHOTOGRAPHS = 8
IN_A_FILE = "chelsea"
ORIENTATION = 0x0112  # the EXIF tag; 6: turn it by 90 degrees clockwise
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
        check: What it is for: ``inference``, or ``training``, a step with its loss and gradients.
        loading: Where each side is to load an image file, how; ``arrays`` then holds the file's bytes, uint8.
        size: (H, W) that the image file is resized to.
        labels: Classes of the images, where they have some.
        tentative: Whether the reference may be unable to take it, as a size that nobody promised; then it is left out.
    """

    name: str
    arrays: tuple[npt.NDArray[Any], ...]
    raw: bool
    check: Literal["inference", "training"] = "inference"
    loading: ImageLoading | None = None
    size: tuple[int, int] | None = None
    labels: tuple[int, ...] | None = None
    tentative: bool = False


def cases(
    network: Graph,
    *,
    any_size: bool,
    num_photographs: int = 0,
    loading: ImageLoading = "keras",
    seed: int = 0,
) -> list[Case]:
    """Draws the inputs for a network.

    Args:
        network: Whose inputs.
        any_size: Whether it takes other sizes too.
        num_photographs: How many further photographs at the network's size, in one batch, at most
            `MOST_PHOTOGRAPHS`.
        loading: How image files are loaded.
        seed: Of the noise.

    Returns:
        For a network of images, a photograph at its size, as a JPEG file that each side loads where
        files can be loaded so; one at 97 x 225 or, for small networks, at the next odd sizes;
        photographs under noise to train on. For any other, impulses, constants and noise, and the
        noise alone; noise to train on.
    """
    shapes = list(network.inputs.values())
    image = len(shapes) == 1 and len(shapes[0]) == 3 and network.channels_last
    if not image:
        known = [known_shape(shape, channels_last=network.channels_last) for shape in shapes]
        probes = tuple(
            _probes(shape, seed + number, channels_last=network.channels_last) for number, shape in enumerate(known)
        )
        batch = tuple(noise((TRAINING_BATCH, *shape), seed + number + 1) for number, shape in enumerate(known))
        return [
            Case("impulse, constants, noise", probes, raw=False),
            Case("noise alone", tuple(array[-1:] for array in probes), raw=False),
            Case("noise, training", batch, raw=False, check="training"),
        ]
    height, width, channels = known_shape(shapes[0])
    files = _image_file((height, width), channels, loading)
    count = num_photographs or (0 if files else 1)
    at_size = (photographs((height, width), channels, count),) if count else ()
    odd = odd_size(height, width) if any_size else (height, width)
    another = photographs(odd, channels, 2)[-1:]
    small = small_size(height, width) if any_size else (height, width)
    return [
        *files,
        *(Case(f"photographs {height}x{width}", (batch,), raw=True) for batch in at_size),
        Case(f"photograph {odd[0]}x{odd[1]}", (another,), raw=True),
        Case(
            f"photographs under noise {small[0]}x{small[1]}, training",
            (_to_train_on(small, channels, seed),),
            raw=True,
            check="training",
        ),
    ]


def _image_file(size: tuple[int, int], channels: int, loading: ImageLoading) -> list[Case]:
    """A JPEG as a camera leaves it, turned by its EXIF tag, for networks of RGB or grey."""
    if channels not in WAYS[loading].channels:
        return []
    from PIL import Image

    photo = Image.fromarray(resized(photograph(IN_A_FILE), 150, 226))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90, exif=exif)
    content = np.frombuffer(file.getvalue(), np.uint8)
    name = f"JPEG file, {loading} loading, {size[0]}x{size[1]}"
    return [Case(name, (content,), raw=True, loading=loading, size=size)]


def loaded(
    case: Case, channels: int, load_images: Callable[[Sequence[Path], Any, Any, int], npt.NDArray[Any]]
) -> tuple[npt.NDArray[Any], ...]:
    """Returns a case's pixels.

    Args:
        case: The inputs.
        channels: Of the network's images.
        load_images: The side's own `weight_transfer.images.load_images`.
    """
    if case.loading is None:
        return case.arrays
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.jpg"
        file.write_bytes(case.arrays[0].tobytes())
        return (load_images([file], case.size, case.loading, channels),)


def mirrored(inputs: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
    """Returns a batch to call a model with: of a single image, (1, H, W, C), it and its mirror images, (4, H, W, C).

    A batch norm in training mode has something to average then. Other inputs stay as they are.
    """
    if len(inputs) != 1 or inputs[0].ndim != 4 or len(inputs[0]) != 1:
        return tuple(inputs)
    (image,) = inputs
    return (np.concatenate([image, image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1]]),)


def _to_train_on(size: tuple[int, int], channels: int, seed: int) -> npt.NDArray[Any]:
    """Photographs under noise: in a flat patch a max pool has no one largest place, and its gradient no one way."""
    return under_noise(photographs(size, channels, TRAINING_BATCH), np.random.default_rng(seed))


def under_noise(photos: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Returns images with up to 24 added to or taken off each number."""
    noisy: npt.NDArray[np.uint8] = np.clip(photos.astype(np.int64) + random.integers(-24, 25, photos.shape), 0, 255)
    return noisy.astype(np.uint8)


def odd_size(height: int, width: int) -> tuple[int, int]:
    """Returns an odd height and an odd width, unlike each other, for a network of images of some size."""
    return (97, 225) if min(height, width) >= 97 else (height + 1 - height % 2, width + 3 - width % 2)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Returns a height and width, odd and no larger than a network's own, at which a training step is quick."""
    return min(height, 65), min(width, 71)


def known_shape(shape: Sequence[int | None], *, channels_last: bool = True) -> tuple[int, ...]:
    """A size for every free one: 224 for images, 64 for anything else."""
    default = DEFAULT_SIZE if len(shape) == 3 else 64
    *sizes, channels = shape if channels_last else (*shape[1:], *shape[:1])
    known = *(n or default for n in sizes), channels or (3 if len(shape) == 3 else default)
    return known if channels_last else (*known[-1:], *known[:-1])


def photographs(size: tuple[int, int], channels: int = 3, count: int = len(PHOTOGRAPHS)) -> npt.NDArray[Any]:
    """Returns real photographs, (count, H, W, C) uint8, RGB or grey; from the fifth on the same in a mirror.

    Raises:
        VerificationError: scikit-image, which carries them, is not installed.
    """
    chosen = [in_channels(resized(photograph(name), *size), channels) for name in PHOTOGRAPHS[:count]]
    mirrored = [photo[:, ::-1] for photo in chosen[: count - len(chosen)]]
    return np.stack([*chosen, *mirrored])


def _probes(shape: tuple[int, ...], seed: int, *, channels_last: bool = True) -> npt.NDArray[Any]:
    """Two impulses, a constant per channel, noise: (3, *shape)."""
    if not channels_last:
        return np.moveaxis(_probes((*shape[1:], *shape[:1]), seed), -1, 1)
    impulse = np.zeros(shape, np.float32)
    *size, channels = shape
    middle = tuple(n // (3 - position % 2) for position, n in enumerate(size))
    impulse[(*middle, 0)] = 255  # off the middle: a flipped kernel shows
    impulse[(-1,) * len(shape)] = 255  # in the corner that asymmetric padding moves
    constants = np.broadcast_to(np.linspace(-120, 150, channels, dtype=np.float32), shape)
    return np.stack([impulse, constants, noise(shape, seed)])


def noise(shape: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    """Returns numbers as large as preprocessed pixels."""
    return np.random.default_rng(seed).normal(0, 60, shape).astype(np.float32)


@cache
def photograph(name: str) -> npt.NDArray[Any]:
    """Returns a photograph of scikit-image, (H, W, 3).

    Raises:
        VerificationError: scikit-image is not installed.
    """
    if importlib.util.find_spec("skimage") is None:
        raise VerificationError(
            "verification shows both models real photographs, which scikit-image carries. "
            "Install them: pip install 'keras-resnet-to-torch[verify]'"
        )
    import skimage.data

    image: npt.NDArray[Any] = getattr(skimage.data, name)()
    return image[..., :3]


def resized(photo: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Returns an image of another size, by Pillow's bilinear filter."""
    from PIL import Image

    pixels: npt.NDArray[Any] = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    return pixels


def in_channels(photo: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """RGB as it is; the grey image for one channel; RGB again and again for more."""
    if channels == 1:
        grey: npt.NDArray[Any] = photo.mean(axis=-1, keepdims=True).astype(np.uint8)
        return grey
    repeats = -(-channels // 3)
    return np.concatenate([photo] * repeats, axis=-1)[..., :channels]


def save_cases(some_cases: Sequence[Case], path: Path) -> None:
    """Writes inputs for another process to read."""
    tensors = (
        Tensor.of(f"{index}/{number}", array)
        for index, case in enumerate(some_cases)
        for number, array in enumerate(case.arrays)
    )
    Content(INPUTS, {"cases": [describe_case(case) for case in some_cases]}, tuple(tensors)).write(path)


def load_cases(path: Path) -> list[Case]:
    """Reads what `save_cases` wrote.

    Raises:
        VerificationError: It is something else, or damaged.
    """
    file = open_tensor_file(path, INPUTS)

    def cases_of(facts: Mapping[str, Any]) -> list[Case]:
        return [
            case_of(row, [file.tensors[f"{index}/{number}"].read() for number in range(row["inputs"])])
            for index, row in enumerate(facts["cases"])
        ]

    return file.parsed(cases_of)


def describe_case(case: Case) -> dict[str, Any]:
    """Returns what a case is beside its arrays, as JSON can hold it."""
    return {**{key: value for key, value in case.__dict__.items() if key != "arrays"}, "inputs": len(case.arrays)}


def case_of(row: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> Case:
    """Builds a case from what `describe_case` gave, and its arrays."""
    size = None if row["size"] is None else (row["size"][0], row["size"][1])
    labels = None if row.get("labels") is None else tuple(row["labels"])
    fields = {key: row[key] for key in ("name", "raw", "check", "loading")}
    return Case(arrays=tuple(arrays), size=size, labels=labels, tentative=row.get("tentative", False), **fields)
