"""What happens to an image before the network: one record, and the arithmetic in NumPy.

Source of the presets: keras/src/applications/imagenet_utils.py, _preprocess_numpy_input, operation for operation
in the images' own float dtype, so that the results are equal bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from weight_transfer.errors import TransferError

Image = npt.NDArray[Any]
Certainty = Literal["known", "inside the network", "guessed"]
ChannelOrder = Literal["RGB", "BGR"]

MOST_CHANNELS = 4
HOW_TO_SAY_IT = "--preprocessing, --scale, --mean, --std, --channel-order"


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an RGB image in 0..255 before the network: ``(x / divisor - mean) / std``, channel by channel.

    Two are equal that do the same, however certain each is.

    Attributes:
        channel_order: Of the network's input.
        divisor: What every number is divided by first.
        mean: Taken off then, in the network's channel order: one number for each channel, one for all, or none.
        std: What the rest is divided by, likewise.
        certainty: ``known`` where the owner's training or a person says it; ``inside the network`` where the
            network's own layers do it; ``guessed`` where it is what such networks usually get.

    Raises:
        TransferError: A value is impossible; all that are wrong are listed.
    """

    channel_order: ChannelOrder = "RGB"
    divisor: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    certainty: Certainty = field(default="known", compare=False)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON has lists
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        problems = _problems(self)
        if problems:
            raise TransferError(f"no such preprocessing: {'; '.join(problems)}.")

    @property
    def name(self) -> str:
        """``caffe``, ``tf``, ``torch`` or ``none``; ``own`` for any other."""
        return next((name for name, preset in PRESETS.items() if preset == self), "own")

    @property
    def words(self) -> str:
        """What is done, without how certain that is: ``caffe: RGB to BGR, minus (103.939, 116.779, 123.68)``."""
        steps = [
            *(["RGB to BGR"] if self.channel_order == "BGR" else []),
            *([f"divided by {self.divisor:.6g}"] if self.divisor != 1 else []),
            *([f"minus {_numbers(self.mean)}"] if self.mean else []),
            *([f"divided by {_numbers(self.std)}"] if self.std else []),
        ]
        return f"{self.name}: {', '.join(steps) or 'RGB in 0..255 as it is'}"

    @property
    def text(self) -> str:
        """What is done, and how certain that is."""
        note = f"; {HOW_TO_SAY_IT} say otherwise" if self.certainty == "guessed" else ""
        return f"{self.words} ({self.certainty}{note})"

    def with_certainty(self, certainty: Certainty) -> Preprocessing:
        """Returns the same with another certainty."""
        return dataclasses.replace(self, certainty=certainty)

    def on_channels(self, channels: int) -> Preprocessing:
        """Returns what is done to images of so many channels.

        The presets of colour leave other images as they are, as their training code must have fed them.

        Raises:
            TransferError: What a person said has numbers for another number of channels.
        """
        reordered = self.channel_order == "BGR" and channels != 3
        if not reordered and all(len(numbers) in (0, 1, channels) for numbers in (self.mean, self.std)):
            return self
        if self.name in PRESETS:
            return Preprocessing(certainty=self.certainty)
        raise TransferError(
            f"the preprocessing {self.words} does not fit images of {channels} channels. Expected a mean and a "
            f"deviation for each or one for all, and BGR for 3 channels alone."
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Returns what `to_dict` was given.

        Raises:
            TransferError: A field is unknown or has an impossible value.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise TransferError(f"no such preprocessing: {dict(values)!r} ({error}).") from error


def preset(name: str, certainty: Certainty = "known") -> Preprocessing:
    """Returns keras.applications' mode of this name.

    Raises:
        TransferError: There is no such mode.
    """
    if name not in PRESETS:
        raise TransferError(f"preprocessing must be one of {tuple(PRESETS)}. Received: {name!r}")
    return PRESETS[name].with_certainty(certainty)


def preprocess(images: Image, preprocessing: Preprocessing | str) -> Image:
    """Returns network inputs of RGB images in 0..255: float32, or the dtype of images that are floats already.

    Args:
        images: (..., H, W, C), channels last.
        preprocessing: What to do, or the name of a preset. Presets of colour apply to three channels; other
            images are left as they are.

    Raises:
        TransferError: There is no such preset, or it does not fit these channels.

    Example:
        >>> preprocess(np.full((1, 1, 3), 255.0), "tf")
        array([[[1., 1., 1.]]])
    """
    named = preset(preprocessing) if isinstance(preprocessing, str) else preprocessing
    how = named.on_channels(images.shape[-1])
    x = images.astype(images.dtype if np.issubdtype(images.dtype, np.floating) else np.float32)
    if how.channel_order == "BGR":
        x = x[..., ::-1].copy()
    if how.divisor != 1:
        x /= how.divisor
    if how.mean:
        x -= np.asarray(how.mean, x.dtype)
    if how.std:
        x /= np.asarray(how.std, x.dtype)
    return x


def agreed(known: Preprocessing, said: Preprocessing | None, place: str) -> Preprocessing:
    """Returns what to do to a network's images: what it brings, or, where that is a guess, what a person says.

    Args:
        known: What the network brings.
        said: What a person says, if anything.
        place: The network's file, for the message.

    Raises:
        TransferError: The person contradicts what is no guess.
    """
    if said is None or (said == known and known.certainty != "guessed"):
        return known
    if known.certainty != "guessed":
        raise TransferError(
            f"{place}: its preprocessing is {known.certainty}: {known.words}. Received {said.words}. Leave the options "
            "out; or, if that is wrong, overrule it in converting the Keras checkpoint: weight-transfer convert"
        )
    return said


def _problems(how: Preprocessing) -> list[str]:
    problems = []
    if how.channel_order not in get_args(ChannelOrder):
        problems.append(f"channel order must be one of {get_args(ChannelOrder)}. Received: {how.channel_order!r}")
    if not _is_number(how.divisor) or not how.divisor > 0:
        problems.append(f"the divisor must be a number above 0. Received: {how.divisor!r}")
    for name, numbers in (("mean", how.mean), ("std", how.std)):
        if not isinstance(numbers, tuple) or len(numbers) > MOST_CHANNELS or not all(map(_is_number, numbers)):
            problems.append(f"{name} must hold one number, or one for each channel. Received: {numbers!r}")
        elif name == "std" and any(number <= 0 for number in numbers):
            problems.append(f"std must hold numbers above 0. Received: {numbers!r}")
    if how.certainty not in get_args(Certainty):
        problems.append(f"certainty must be one of {get_args(Certainty)}. Received: {how.certainty!r}")
    return problems


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(numbers: tuple[float, ...]) -> str:
    texts = [f"{number:.6g}" for number in numbers]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


# By name: keras.applications' three modes, and to leave images as they are.
PRESETS: Mapping[str, Preprocessing] = {
    "caffe": Preprocessing("BGR", mean=(103.939, 116.779, 123.68)),
    "tf": Preprocessing(divisor=127.5, mean=(1.0,)),
    "torch": Preprocessing(divisor=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "none": Preprocessing(),
}
NOT_KNOWN = Preprocessing(certainty="guessed")
INSIDE = Preprocessing(certainty="inside the network")
