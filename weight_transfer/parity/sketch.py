"""How much of a tensor a recording keeps: all of it, or samples and a count sketch that no mistake slips past.

A sample says where two tensors part; the sketch, sums of all elements with random signs, sees a
swapped, shifted or transposed tensor wherever it differs. Source: Charikar, Chen and Farach-Colton,
Finding frequent items in data streams, 2002.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.parity.error import TapError, tap_error

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Detail:
    """How much of each tensor is kept.

    Attributes:
        name: In words.
        full_elements: A tensor of at most so many elements is kept whole.
        samples: Elements kept of a larger one: an even number, in pairs of one channel.
        buckets: Signed sums over all its elements.
    """

    name: str
    full_elements: int
    samples: int
    buckets: int

    def kept(self, shape: tuple[int, ...]) -> int:
        """Numbers that are kept of a tensor of this shape."""
        size = math.prod(shape)
        return size if size <= self.full_elements else self.samples + self.buckets


LIVE = Detail("every element of tensors up to 2M, else 16,384 samples and 4,096 signed sums", 2**21, 2**14, 2**12)
COMPACT = Detail("tensors up to 96 elements whole, else 48 samples and 48 signed sums over all elements", 96, 48, 48)
# Of a layer by itself: it has no earlier error to be told from, and its numbers are random in every place.
BY_LAYER = Detail("tensors up to 32 elements whole, else 16 samples and 16 signed sums over all elements", 32, 16, 16)
DETAILS = {detail.name: detail for detail in (LIVE, COMPACT)}


def sketch(array: npt.NDArray[Any], key: str, detail: Detail) -> Floats:
    """Returns what is kept of a tensor.

    Args:
        array: The tensor, channels last.
        key: Of the tensor; decides which elements and which signs, the same on every machine.
        detail: How much.

    Returns:
        ``detail.kept(array.shape)`` numbers: all elements; or samples, then signed sums.
    """
    if array.size <= detail.full_elements:
        return array.astype(np.float64).ravel()
    flat = array.ravel()
    samples = flat[positions(array.shape, key, detail)].astype(np.float64)
    return np.concatenate([samples, _signed_sums(flat, key, detail.buckets)])


def positions(shape: tuple[int, ...], key: str, detail: Detail) -> npt.NDArray[np.int64]:
    """The elements that are sampled: in the second half a partner, of the same channel, of each in the first."""
    size, channels = math.prod(shape), shape[-1]
    half = detail.samples // 2
    raw = _random(f"{key}/positions").random_raw(2 * half).astype(np.uint64)
    first = (raw[:half] % np.uint64(size)).astype(np.int64)
    rows = (raw[half:] % np.uint64(size // channels)).astype(np.int64)
    return np.concatenate([first, rows * channels + first % channels])


def _signed_sums(flat: npt.NDArray[Any], key: str, buckets: int) -> Floats:
    """Element i goes into bucket i mod ``buckets`` with a random sign; divided by the root of how many there are."""
    words = _random(f"{key}/signs").random_raw(-(-flat.size // 64)).astype("<u8")
    minus = np.unpackbits(words.view(np.uint8), count=flat.size, bitorder="little").view(np.int8)
    signed = flat.astype(np.float64, copy=False) * (1 - 2 * minus)
    full_rows, rest = divmod(flat.size, buckets)
    sums: Floats = signed[: full_rows * buckets].reshape(full_rows, buckets).sum(axis=0)
    sums[:rest] += signed[full_rows * buckets :]
    return sums / math.sqrt(full_rows + (rest > 0))


def _random(key: str) -> np.random.PCG64:
    """A stream that NumPy keeps the same in every version: a bit generator's raw output."""
    return np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))


@dataclass(frozen=True)
class Expected:
    """What a recording knows of one tensor of the reference.

    Attributes:
        key: As for `sketch`.
        shape: Of the whole tensor.
        peak: What an error is measured against: max|tensor|.
        kept: What `sketch` gave.
        detail: How much that is.
    """

    key: str
    shape: tuple[int, ...]
    peak: float
    kept: Floats
    detail: Detail

    @property
    def whole(self) -> bool:
        """Whether every element is known."""
        return math.prod(self.shape) <= self.detail.full_elements

    def error(self, actual: npt.NDArray[Any]) -> TapError:
        """Compares a tensor with this one, in float64.

        Args:
            actual: The tensor, channels last.
        """
        if actual.shape != self.shape:
            return TapError(float("inf"), self.peak, self.shape)
        ours = sketch(actual, self.key, self.detail)
        found = tap_error(ours, self.kept, peak=self.peak)
        return TapError(found.error, self.peak, self.shape, self._place(found.where))

    def sampled_difference(self, actual: npt.NDArray[Any]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Where single elements are known: expected - actual there, and each one's channel."""
        channels = self.shape[-1] if self.shape else 1
        difference = self.kept - sketch(actual, self.key, self.detail)
        if self.whole:
            return difference, np.arange(difference.size) % channels
        places = positions(self.shape, self.key, self.detail)
        return difference[: self.detail.samples], places % channels

    def _place(self, where: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """The index in the tensor of a place in what is kept; None for a sum over many."""
        if where is None:
            return None
        place = where[0]
        if not self.whole:
            if place >= self.detail.samples:
                return None
            place = int(positions(self.shape, self.key, self.detail)[place])
        return tuple(int(index) for index in np.unravel_index(place, self.shape)) if self.shape else ()
