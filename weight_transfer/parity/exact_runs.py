"""Exact runs: networks of integers, on which no arithmetic rounds, so that both sides must agree bit for bit.

Both sides run the whole network once a round. At every layer output that both name, the output is noted and then
replaced by a fresh probe, numbers that both sides draw alike. So each layer is fed numbers of its own: none is dead or
saturated, no rounding error is handed on, and a mistake shows at its own layer and nowhere else. The arrays are
replaced by integers too, which go through the port's own weight mapping. All sums stay below 2^53: in float64 each is
exact in any order.

Three kinds of numbers are drawn for inference: ``wide`` ones, integers of 18 bits; ``unit`` ones, eighths around the
places where activations bend; ``negative`` ones, which show what a pool is padded with. A fourth kind, ``real``, has 52
random bits and serves a training step, where a batch norm rounds anyway and equal numbers in one window of a max pool
would leave its gradient more than one way to go.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weight_transfer.parity.error import TapError

Floats = npt.NDArray[np.float64]
Regime = Literal["wide", "unit", "negative", "real"]
ArrayKind = Literal["kernel", "scale", "offset", "variance"]

EXACT_REGIMES: tuple[Regime, ...] = ("wide", "unit", "negative")
QUICK_REGIMES: tuple[Regime, ...] = ("unit",)
QUICK_LEAVES_OUT = (
    "exact runs at other sizes than the network's own",
    "exact runs on integers of 18 bits, and on numbers below zero, which show what a pool is padded with",
    "a training step of each layer by itself, and of the owner's own model",
)
MANTISSA_BITS = 53  # of float64: whole numbers up to 2^53 are exact
PROBE_BITS = 18
ARRAY_BITS = 16
SPARE_BITS = 8  # for an offset, a root of a variance, a residual sum
FILTER_SCALES = 5  # of unit kernels: an output in the middle of an activation, and outputs far from it
ROLE_KINDS: Mapping[str, ArrayKind] = {
    "bias": "offset",
    "beta": "offset",
    "moving_mean": "offset",
    "mean": "offset",
    "moving_variance": "variance",
    "variance": "variance",
}


@dataclass(frozen=True)
class ArrayDraw:
    """How the numbers of one array of the network are drawn.

    Attributes:
        name: ``layer/role`` of the Keras array.
        shape: In Keras's layout.
        kind: A ``kernel`` is summed over, a ``scale`` multiplies, an ``offset`` is added or taken off, of a
            ``variance`` with epsilon the root is taken.
        bits: Of a kernel's or a scale's integers, so that no sum behind it leaves the exact ones.
        epsilon: What Keras adds to a variance.
    """

    name: str
    shape: tuple[int, ...]
    kind: ArrayKind
    bits: int = ARRAY_BITS
    epsilon: float = 0.0


@dataclass(frozen=True)
class Round:
    """One forward pass.

    Attributes:
        name: ``integers 224x224, wide``.
        regime: What kind of numbers.
        inputs: Shape of each input, the batch in front.
        multiples: By layer output, the number whose multiples are drawn: an average over so many is exact.
        digests: By layer output, the shape and the SHA-256 of what Keras gave, where its arithmetic is exact. Of other
            outputs the recording keeps the numbers, as of any tensor.
    """

    name: str
    regime: Regime
    inputs: tuple[tuple[int, ...], ...]
    multiples: dict[str, int] = field(default_factory=dict)
    digests: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)

    @property
    def is_training_step(self) -> bool:
        """Whether it is a training step, in which nothing is exact."""
        return self.regime == "real"


@dataclass(frozen=True)
class ExpectedDigest:
    """What a recording knows of an output whose arithmetic is exact: every bit of it, and no number.

    Attributes:
        shape: In Keras's layout, the batch in front.
        sha256: As `digest` gives it.
        epsilon: What Keras adds to the layer's variance, where it has one.
    """

    shape: tuple[int, ...]
    sha256: str
    epsilon: float | None = None

    def error(self, actual: npt.NDArray[Any]) -> TapError:
        """Compares a tensor in Keras's layout with this one: the error is 0 where all bits agree, else infinite."""
        return TapError(0.0 if digest(actual) == self.sha256 else math.inf, 1.0, self.shape)


@dataclass(frozen=True)
class ExactRuns:
    """What a recording holds of exact runs.

    Attributes:
        seed: Of everything that is drawn; itself drawn when the recording was made.
        arrays: Every array of the network.
        reads: By layer output, the nearest layer outputs that it is computed from, in Keras's own configuration;
            ``input 0`` and so on are the network's inputs.
        nonnegative: Layer outputs that are never below zero, as behind a ReLU; so are their probes.
        rounds: In order.
        channels_last: Whether the channels of the inputs come last.
    """

    seed: int
    arrays: tuple[ArrayDraw, ...]
    reads: dict[str, tuple[str, ...]]
    nonnegative: frozenset[str]
    rounds: tuple[Round, ...]
    channels_last: bool = True

    @property
    def sizes(self) -> tuple[str, ...]:
        """The sizes of the inputs that layers were compared at, in words: ``224x224``."""
        shapes = dict.fromkeys(one.inputs for one in self.rounds if not one.is_training_step)
        return tuple(shown_size([shape[1:] for shape in inputs], self.channels_last) for inputs in shapes)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What a quick verification leaves out, in words; nothing where all was run."""
        regimes = {one.regime for one in self.rounds if not one.is_training_step}
        return QUICK_LEAVES_OUT if regimes <= {*QUICK_REGIMES} else ()

    def quick(self) -> ExactRuns:
        """Returns the rounds of a quick verification: one kind of numbers at the network's own size, and the step."""
        own = next(one.inputs for one in self.rounds)
        kept = (one for one in self.rounds if one.inputs == own and one.regime in QUICK_REGIMES)
        return replace(self, rounds=(*kept, *(one for one in self.rounds if one.is_training_step)))

    def expected(self, one: Round, name: str) -> ExpectedDigest:
        """Returns what Keras gave for a layer output whose arithmetic is exact."""
        shape, sha256 = one.digests[name]
        epsilons = (
            draw.epsilon for draw in self.arrays if draw.kind == "variance" and draw.name.startswith(f"{name}/")
        )
        return ExpectedDigest(shape, sha256, next(epsilons, None))

    def probe(self, one: Round, name: str, shape: tuple[int, ...]) -> Floats:
        """Returns the numbers that take the place of a layer's output, or of an input.

        Args:
            one: The round.
            name: Of the layer output, or ``input 0``.
            shape: In Keras's layout, the batch in front.
        """
        return drawn_probe(
            f"{self.seed}/{one.name}/{name}", shape, one.regime, name in self.nonnegative, one.multiples.get(name, 1)
        )

    def cotangent(self, one: Round, name: str, shape: tuple[int, ...]) -> Floats:
        """Returns what the sum of a layer output's elements is weighted with in a training step."""
        return drawn_probe(f"{self.seed}/{one.name}/{name}/cotangent", shape, "real", False, 1)

    def array(self, regime: Regime, draw: ArrayDraw) -> Floats:
        """Returns the numbers that an array has in every round of a regime, in Keras's layout."""
        return drawn_array(f"{self.seed}/{regime}/{draw.name}", draw, regime)


def shown_size(shapes: Sequence[Sequence[int]], channels_last: bool) -> str:
    """Returns the shapes of some inputs, without the batch, in words: an image's height and width."""
    return " and ".join("x".join(map(str, (shape[:-1] if channels_last else shape[1:]) or shape)) for shape in shapes)


def input_name(number: int) -> str:
    """Returns what exact runs call an input of the network, counted from 0."""
    return f"input {number}"


def logits_name(name: str) -> str:
    """Returns what exact runs call the output of a last layer before its own softmax or sigmoid."""
    return f"{name}/logits"


def digest(array: npt.NDArray[Any]) -> str:
    """Returns the SHA-256 of a float64 array's shape and bytes; a negative zero counts as zero."""
    found = hashlib.sha256(repr(array.shape).encode())
    found.update(np.ascontiguousarray(array.astype(np.float64, copy=False) + 0.0).data)
    return found.hexdigest()


def kind_of(role: str) -> ArrayKind:
    """Returns how an array is drawn that Keras calls so."""
    last = role.rpartition("/")[2]
    return ROLE_KINDS.get(last, "kernel" if last.endswith("kernel") else "scale")


def terms(kind: ArrayKind, shape: tuple[int, ...]) -> int:
    """Returns how many products are summed, at most, into one number behind an array.

    A transposed convolution has inputs and outputs the other way round; the smaller of the two is what a kernel's
    elements are divided by.
    """
    if kind != "kernel" or len(shape) < 2:
        return 1
    return max(1, math.prod(shape) // max(1, min(shape[-2:])))


def drawn_probe(key: str, shape: tuple[int, ...], regime: Regime, nonnegative: bool, multiple: int) -> Floats:
    """Draws the numbers that take the place of a layer's output.

    Args:
        key: Decides the numbers, the same on every machine.
        shape: Of the result.
        regime: What kind of numbers.
        nonnegative: Whether none may be below zero.
        multiple: All are multiples of this, or of an eighth of it.
    """
    raw = random_words(key, math.prod(shape))
    values: Floats
    if regime == "real":
        values = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    elif regime == "unit":
        near = (raw & np.uint64(3)) > 0
        spread = np.where(near, np.uint64(129), np.uint64(1025))
        integers = ((raw >> np.uint64(8)) % spread).astype(np.float64) - (spread >> np.uint64(1)).astype(np.float64)
        values = integers * (0.125 * multiple)
    else:
        bits = max(2, PROBE_BITS - (multiple - 1).bit_length())
        values = ((raw >> np.uint64(64 - bits)).astype(np.float64) - 2.0 ** (bits - 1)) * multiple
        if regime == "negative" and not nonnegative:
            values = -np.abs(values) - multiple
    if nonnegative:
        np.abs(values, out=values)
    return values.reshape(shape)


def drawn_array(key: str, draw: ArrayDraw, regime: Regime) -> Floats:
    """Draws the numbers of an array of the network, in Keras's layout.

    Args:
        key: Decides the numbers.
        draw: Which array.
        regime: What kind of numbers.
    """
    size, unit = math.prod(draw.shape), regime in ("unit", "real")
    raw = random_words(key, size)
    values: Floats
    if draw.kind == "variance":
        powers = (raw % np.uint64(4)).astype(np.float64) - (1.0 if unit else 0.0)
        values = 4.0**powers - draw.epsilon
    elif draw.kind == "kernel" and unit:
        spread = math.ceil(math.log2(4 * math.sqrt(terms(draw.kind, draw.shape))))
        filters = draw.shape[-1] if draw.shape else 1
        smaller = (random_words(f"{key}/filters", filters) % np.uint64(FILTER_SCALES)).astype(np.float64)
        values = _integers(raw, min(4, draw.bits)) * 2.0**-spread * np.tile(2.0**-smaller, size // filters)
    elif unit:
        values = _integers(raw, 5) * 0.125
    else:
        values = _integers(raw, draw.bits if draw.kind in ("kernel", "scale") else ARRAY_BITS)
    return values.reshape(draw.shape)


def _integers(raw: npt.NDArray[np.uint64], bits: int) -> Floats:
    """Odd and even integers of either sign, never zero: a factor of zero would hide what it multiplies."""
    values = (raw >> np.uint64(64 - bits)).astype(np.float64) - 2.0 ** (bits - 1)
    return np.where(values >= 0, values + 1, values)


def random_words(key: str, size: int) -> npt.NDArray[np.uint64]:
    """Returns random words of 64 bits, which NumPy draws alike in every version: a bit generator's raw output.

    Args:
        key: Decides them.
        size: How many.
    """
    found: npt.NDArray[np.uint64] = np.random.PCG64(
        int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    ).random_raw(size)
    return found
