"""What numbers an argument of a layer can have: outside of it no Keras makes a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weight_transfer.layer_types.layer_type import Options, Settings

LARGEST = 2**20  # of units, filters, windows and margins; no public network comes near
LARGEST_SIZE = 2**31 - 1  # of one axis of an input
LARGEST_NUMBERS: Mapping[str, float] = {"float64": float(np.finfo(np.float64).max)}  # by dtype policy
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Range:
    """The numbers from the least to the most.

    Attributes:
        least: Allowed, unless the ends are not.
        most: As ``least``.
        ends: Whether the two themselves are allowed.
    """

    least: float
    most: float = math.inf
    ends: bool = True

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most if self.ends else self.least < number < self.most

    def __str__(self) -> str:
        if not self.ends:
            return f"a number above {self.least:g} and below {self.most:g}"
        return f"a number of {self.least:g} or more" if self.most == math.inf else self._from_to()

    def _from_to(self) -> str:
        return f"a number from {self.least:g} to {self.most:.7g}"


_SHARE, _COUNT, _MARGIN, _POSITIVE = Range(0, 1), Range(1, LARGEST), Range(0, LARGEST), Range(0)
# Arguments of any class, in the words of every Keras. One that a class reads as text or None is no number.
RANGES: Mapping[str, Range] = {
    "epsilon": Range(0, 1, ends=False),
    **dict.fromkeys(("momentum", "rate", "p"), _SHARE),
    **dict.fromkeys(("stddev", "sigma", "max_value", "threshold"), _POSITIVE),
    **dict.fromkeys(("units", "output_dim", "filters", "nb_filter", "depth_multiplier", "n"), _COUNT),
    **dict.fromkeys(("nb_row", "nb_col", "filter_length", "kernel_dim1", "kernel_dim2", "kernel_dim3"), _COUNT),
    **dict.fromkeys(("kernel_size", "pool_size", "pool_length", "size", "length", "height", "width"), _COUNT),
    **dict.fromkeys(("strides", "stride", "subsample", "subsample_length", "dilation_rate"), _COUNT),
    **dict.fromkeys(("padding", "cropping", "output_padding"), _MARGIN),
}


def check_ranges(options: Options, settings: Settings) -> None:
    """Refuses a layer with a number that no layer can have.

    Args:
        options: Its config.
        settings: What was read of it.

    Raises:
        ArchitectureError: An argument is outside its range; or a number is not finite, or too large for the layer's
            dtype.
    """
    for key, value in options.arguments.items():
        for number in _numbers(value):
            if key in RANGES and number not in RANGES[key]:
                raise options.refusal(f"{key}={value!r} is not {RANGES[key]}")
    policy = options.arguments.get("dtype")
    largest = LARGEST_NUMBERS.get(policy if isinstance(policy, str) else "", LARGEST_FLOAT32)
    for key, value in settings.items():
        for number in _numbers(value):
            if not abs(number) <= largest:  # which no NaN is
                given = options.arguments.get(key, value)
                raise options.refusal(f"{key}={given!r} holds a number that is not finite in its dtype")


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a nest of lists and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
