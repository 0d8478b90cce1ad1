"""Keras's side of exact runs: which numbers each layer can be fed so that nothing rounds, and what it gives."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from resnet_keras.moving_statistics import STATISTICS
from resnet_keras.subject import Subject, Variable
from weight_transfer.graph import Call, Layer
from weight_transfer.parity.exact_runs import (
    ARRAY_BITS,
    EXACT_REGIMES,
    MANTISSA_BITS,
    PROBE_BITS,
    SPARE_BITS,
    ArrayDraw,
    ExactRuns,
    Regime,
    Round,
    digest,
    input_name,
    kind_of,
    logits_name,
    shown_size,
    terms,
)
from weight_transfer.parity.inputs import known_shape, odd_size, small_size
from weight_transfer.parity.recording import RecordingWriter
from weight_transfer.parity.report import Check

SPATIAL = ("1D", "2D", "3D")
POOLS = tuple(f"{kind}Pooling{rank}" for kind in ("Max", "GlobalMax") for rank in SPATIAL)
MEANS = tuple(f"GlobalAveragePooling{rank}" for rank in SPATIAL)
AVERAGES = tuple(f"AveragePooling{rank}" for rank in SPATIAL)
RESHAPES = (
    *(f"{kind}{rank}" for kind in ("ZeroPadding", "Cropping", "UpSampling", "SpatialDropout") for rank in SPATIAL),
    "Flatten", "Reshape", "Permute", "RepeatVector", "Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout",
    "ActivityRegularization", "Identity",
)  # fmt: skip
JOINS = ("Add", "Concatenate", "Maximum", "Minimum", "Multiply")
# What computes sums of products, the largest of some, or piecewise linear functions: exact on the numbers drawn.
EXACT_CLASSES = frozenset(
    {
        *(f"{kind}{rank}" for kind in ("Conv", "DepthwiseConv", "SeparableConv") for rank in SPATIAL),
        *(f"Conv{rank}Transpose" for rank in SPATIAL),
        *POOLS, *MEANS, *AVERAGES, *RESHAPES, *JOINS,
        "Dense", "BatchNormalization", "Subtract", "ReLU", "LeakyReLU", "PReLU", "ThresholdedReLU", "Activation",
    }
)  # fmt: skip
EXACT_ACTIVATIONS = frozenset({"relu", "relu6", "leaky_relu", "clipped_relu"})
NONNEGATIVE_ACTIVATIONS = frozenset({"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "softplus", "exponential"})
ELEMENTWISE = frozenset({"Activation", "ReLU", "Dropout", "Add", "Identity"})  # a multiple in, a multiple out
Sizes = tuple[tuple[int, ...], ...]  # of each input, without the batch
LEAST_BITS = 2
SMALL_BATCH = 2  # of sizes other than the network's own, and of a training step


@dataclass(frozen=True)
class Segment:
    """What Keras computes between the outputs that both sides name.

    Attributes:
        name: Of the output that it ends in.
        reads: Names of the outputs that it starts from.
        layers: Paths of the layers that it is made of.
        finishes: Whether it is a last softmax or sigmoid.
        ended: The layer whose softmax or sigmoid is left out of it, where one is.
    """

    name: str
    reads: tuple[str, ...]
    layers: tuple[str, ...]
    finishes: bool = False
    ended: str | None = None


def record_exact_runs(
    subject: Subject,
    writer: RecordingWriter,
    seed: int,
    sizes: Sequence[Sizes],
    training_size: Sizes,
    *,
    regimes: Sequence[Regime] = EXACT_REGIMES,
    training: bool,
) -> ExactRuns:
    """Runs the rebuilt float64 network on integers, and notes what every layer gives.

    The arrays of ``subject`` are replaced: nothing else can be recorded of it afterwards.

    Args:
        subject: The reference.
        writer: Of the recording; it is given the outputs whose arithmetic is not exact, and the training step.
        seed: Of everything that is drawn.
        sizes: For each size, the shape of each input without the batch; the network's own first.
        training_size: Of the training step.
        regimes: Which kinds of numbers to draw.
        training: Whether to record what the training step gives; without it the recording says only what it was
            to be, by which the port shows what each of its outputs is computed from.

    Returns:
        What the recording holds beside the writer's tensors.
    """
    run = _ExactRun(subject, writer, seed)
    last = subject.graph.channels_last
    rounds = []
    for regime in regimes:
        run.draw_arrays(regime)
        for number, size in enumerate(sizes):
            shapes = tuple((SMALL_BATCH if number else 1, *shape) for shape in size)
            rounds.append(run.inference(Round(f"integers {shown_size(size, last)}, {regime}", regime, shapes)))
    step = tuple((SMALL_BATCH, *shape) for shape in training_size)
    local = Round(f"training step {shown_size(training_size, last)}", "real", step)
    if training:
        run.draw_arrays(local.regime)
        run.training_step(local)
    rounds.append(local)
    return replace(run.runs, rounds=tuple(rounds))


def exact_sizes(subject: Subject, *, quick: bool = False) -> tuple[list[Sizes], Sizes]:
    """Returns the sizes to probe, and that of the training step; of each the shape of each input.

    They are the network's own; of images of any size also an odd one, since padding depends on the size modulo a
    stride, and the smallest that Keras takes. A quick verification has its own size alone.
    """
    given = [tuple(tensor.shape)[1:] for tensor in subject.reference.model.inputs]
    last = subject.graph.channels_last
    own = tuple(known_shape(shape, channels_last=last) for shape in given)
    if len(own) != 1 or len(own[0]) != 3:
        return [own], own
    spatial = slice(0, 2) if last else slice(1, 3)
    if not (subject.any_size or None in given[0][spatial]):
        return [own], own
    height, width, channels = own[0] if last else (*own[0][1:], own[0][0])

    def shape(height: int, width: int) -> tuple[int, ...]:
        return (height, width, channels) if last else (channels, height, width)

    small = shape(*small_size(height, width))
    training_size = (small,) if _takes(subject, small) else own
    if quick:
        return [own], training_size
    smallest = _smallest(lambda n: _takes(subject, shape(n, n)), min(height, width))
    others = [odd_size(height, width), (smallest, smallest)]
    sizes: list[Sizes] = [own, *((shape(*size),) for size in others if _takes(subject, shape(*size)))]
    return list(dict.fromkeys(sizes)), training_size


def _smallest(takes: Callable[[int], bool], most: int) -> int:
    """The smallest size that is taken, of which every larger one is too; ``most`` where none below it is."""
    refused, size = 0, 1
    while size < most and not takes(size):
        refused, size = size, 2 * size
    return 1 + refused + bisect_left(range(1 + refused, min(size, most)), True, key=takes)


def _takes(subject: Subject, shape: tuple[int, ...]) -> bool:
    """Whether every layer gives something for images of a size."""
    sizes: list[int] = []
    try:
        subject.run("float64", [np.zeros((1, *shape))], lambda name, tensor: sizes.append(math.prod(tensor.shape)))
    except (tf.errors.OpError, ValueError):
        return False
    return all(sizes)


class _ExactRun:
    """A reference whose arrays are drawn, and what is known of its layers.

    Args:
        subject: The reference.
        writer: Of the recording.
        seed: Of everything that is drawn.
    """

    def __init__(self, subject: Subject, writer: RecordingWriter, seed: int) -> None:
        self.subject, self.writer, self.graph = subject, writer, subject.graph
        self.variables = [one for one in subject.variables("float64") if one.array.dtype == np.float64]
        self.statistics = [one for one in self.variables if one.role in STATISTICS]
        segments = segments_of(subject)
        self.layers = known_layers = {**self.graph.listed, **self.graph.layers}
        paths = {name: path for path, name in subject.layers.items()}
        layers = {one.name: known_layers[paths[one.layer]] for one in self.variables}
        self.draws, crowded = _draws(segments, self.variables, layers)
        averaging = {call.layer for call in self.graph.calls if call.training}  # over the batch, which rounds
        self.exact = {
            name
            for name, segment in segments.items()
            if not segment.finishes and averaging.isdisjoint(segment.layers) and _is_exact(segment, known_layers)
        } - crowded
        self.runs = ExactRuns(
            seed=seed,
            arrays=tuple(self.draws.values()),
            reads={name: segment.reads for name, segment in segments.items()},
            nonnegative=frozenset(_nonnegative(subject)),
            rounds=(),
            channels_last=self.graph.channels_last,
        )
        self.values = {input_name(number): value for number, value in enumerate(self.graph.inputs)}
        self.values |= {name: value for value, name in subject.taps.items()}
        self.readers: dict[str, list[Call]] = {}
        for call in self.graph.calls:
            for value in call.inputs:
                self.readers.setdefault(value, []).append(call)

    def inference(self, one: Round) -> Round:
        """Runs one forward pass, every output replaced by a probe."""

        def note(name: str, tensor: Any) -> Any:
            array = tensor.numpy()
            if name in self.exact:
                one.digests[name] = array.shape, digest(array)
            else:
                self._add(one, "exact", name, array)
            return tf.constant(self._probe(one, name, array.shape), tensor.dtype)

        self.subject.run("float64", self._inputs(one), note)
        return one

    def training_step(self, one: Round) -> None:
        """Runs one step in training mode: each output has a cotangent of its own, so that every gradient is local."""
        probes: dict[str, Any] = {}
        sums: list[Any] = []
        found: list[tuple[str, np.ndarray]] = []

        def note(name: str, tensor: Any) -> Any:
            found.append((name, tensor.numpy()))
            cotangent = self.runs.cotangent(one, name, tuple(tensor.shape))
            sums.append(tf.reduce_sum(tensor * tf.constant(cotangent, tensor.dtype)))
            probes[name] = tf.constant(self._probe(one, name, tuple(tensor.shape)), tensor.dtype)
            tape.watch(probes[name])
            return probes[name]

        learning = [variable for variable in self.variables if variable.trains]
        with tf.GradientTape() as tape:
            self.subject.run("float64", self._inputs(one), note, training=True)
            total = tf.add_n(sums)
        by_array, by_probe = tape.gradient(total, ([variable.tensor for variable in learning], probes))
        for name, array in found:
            self._add(one, "local output", name, array)
        gradients = [*((variable.name, gradient) for variable, gradient in zip(learning, by_array, strict=True))]
        gradients += [(f"{name}/output", gradient) for name, gradient in by_probe.items()]
        for name, gradient in gradients:
            if gradient is not None:
                self._add(one, "local gradient", name, tf.convert_to_tensor(gradient).numpy())
        for variable in self.statistics:
            self._add(one, "local statistics", variable.name, variable.array)

    def _add(self, one: Round, check: Check, name: str, array: np.ndarray) -> None:
        """Adds a tensor, unless it has no numbers, as a quotient has none where a zero was drawn."""
        if np.isfinite(array).all():
            self.writer.add(one.name, check, name, array)

    def draw_arrays(self, regime: Regime) -> None:
        """Gives the network the arrays of every round of a regime."""
        for variable in self.variables:
            variable.own.assign(self.runs.array(regime, self.draws[variable.name]))

    def _inputs(self, one: Round) -> list[np.ndarray]:
        return [self._probe(one, input_name(number), shape) for number, shape in enumerate(one.inputs)]

    def _probe(self, one: Round, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in self.values and one.regime != "real":
            multiple = self._multiple(self.values[name], shape)
            if multiple > 1:
                one.multiples[name] = multiple
        return self.runs.probe(one, name, shape)

    def _multiple(self, value: str, shape: tuple[int, ...]) -> int:
        """What a value's numbers are to be multiples of, for the averages that read it to be exact."""
        found = 1
        for call in self.readers.get(value, ()):
            layer = self.layers[call.layer]
            if layer.class_name in (*MEANS, *AVERAGES):
                found = math.lcm(found, _averaged(layer, shape))
            elif layer.class_name in ELEMENTWISE and call.value not in self.subject.taps:
                found = math.lcm(found, self._multiple(call.value, shape))
        return found


def _averaged(layer: Layer, shape: tuple[int, ...]) -> int:
    """The least common multiple of how many numbers each window of an average holds."""
    first = layer.settings.get("data_format") == "channels_first"
    spatial = shape[2:] if first else shape[1:-1]
    if layer.class_name in MEANS:
        return math.prod(spatial)
    sizes, strides = layer.settings["pool_size"], layer.settings["strides"]
    counts = [
        _counts(n, size, stride, layer.settings["padding"])
        for n, size, stride in zip(spatial, sizes, strides, strict=True)
    ]
    return math.lcm(*(math.prod(window) for window in itertools.product(*counts)))


def _counts(n: int, size: int, stride: int, padding: str) -> set[int]:
    """How many numbers the windows of a pool hold along one axis; a pad is not counted."""
    if padding == "valid":
        return {size}
    windows = -(-n // stride)
    before = max((windows - 1) * stride + size - n, 0) // 2
    starts = (number * stride - before for number in range(windows))
    return {min(start + size, n) - max(start, 0) for start in starts}


def segments_of(subject: Subject) -> dict[str, Segment]:
    """Returns by name what Keras computes between one named output and the next, from its own configuration."""
    graph = subject.graph
    reads: dict[str, tuple[str, ...]] = {value: (input_name(n),) for n, value in enumerate(graph.inputs)}
    layers: dict[str, tuple[str, ...]] = dict.fromkeys(graph.inputs, ())
    ended = subject.models["float64"].ended
    found: dict[str, Segment] = {}

    def end(name: str, value: str, *, finishes: bool = False, without: str | None = None) -> None:
        found[name] = Segment(name, tuple(sorted(reads[value])), layers[value], finishes, without)
        reads[value], layers[value] = (name,), ()

    for call in graph.calls:
        reads[call.value] = tuple(dict.fromkeys(name for value in call.inputs for name in reads[value]))
        inside = (path for value in call.inputs for path in layers[value])
        layers[call.value] = tuple(dict.fromkeys([*inside, call.layer]))
        tap = subject.taps.get(call.value)
        if tap is None:
            continue
        if call.value not in ended:
            end(tap, call.value)
        elif subject.outputs:
            end(tap, call.value, without=call.layer)
        else:
            end(logits_name(tap), call.value, without=call.layer)
            end(tap, call.value, finishes=True)
    for name, value, activation in zip(subject.outputs, graph.outputs, subject.last_activations, strict=False):
        end(name, value, finishes=activation is not None)
    return found


def _is_exact(segment: Segment, layers: Mapping[str, Layer]) -> bool:
    """Whether the layers between two outputs round nothing on the numbers drawn."""
    return all(_rounds_nothing(layers[path], path == segment.ended) for path in segment.layers)


def _rounds_nothing(layer: Layer, without_activation: bool) -> bool:
    last = None if without_activation else layer.last_activation
    bends = last is None or last.get("name") in EXACT_ACTIVATIONS
    if layer.settings.get("interpolation") == "bilinear":  # its weights are multiples of a half of 1 / size
        bends = all(size & (size - 1) == 0 for size in layer.settings["size"])
    if layer.class_name == "Multiply" and len(layer.in_shapes) > MANTISSA_BITS // PROBE_BITS:
        return False  # of three probes the product has more bits than float64
    return bends and layer.class_name in EXACT_CLASSES


def _draws(
    segments: Mapping[str, Segment], variables: Sequence[Variable], layers: Mapping[str, Layer]
) -> tuple[dict[str, ArrayDraw], set[str]]:
    """How each array is drawn, and the segments whose sums leave the exact integers however few bits it has."""
    draws: dict[str, ArrayDraw] = {}
    by_layer: dict[str, list[str]] = {}
    for one in variables:
        layer = layers[one.name]
        kind = kind_of(one.role)
        epsilon = float(layer.config.get("epsilon", 0.0)) if kind == "variance" else 0.0
        draws[one.name] = ArrayDraw(one.name, one.array.shape, kind, ARRAY_BITS, epsilon)
        by_layer.setdefault(layer.path, []).append(one.name)
    crowded = set()
    for segment in segments.values():
        factors = [
            draws[name]
            for path in segment.layers
            for name in by_layer.get(path, ())
            if draws[name].kind in ("kernel", "scale")
        ]
        if not factors:
            continue
        sums = sum(math.ceil(math.log2(terms(one.kind, one.shape))) for one in factors)
        bits = (MANTISSA_BITS - PROBE_BITS - SPARE_BITS - sums) // len(factors)
        if bits < LEAST_BITS:
            crowded.add(segment.name)
        for draw in factors:
            draws[draw.name] = replace(draw, bits=max(LEAST_BITS, min(draws[draw.name].bits, bits)))
    return draws, crowded


def _nonnegative(subject: Subject) -> Iterator[str]:
    """The named outputs that are never below zero."""
    above: set[str] = set()
    graph, ended = subject.graph, subject.models["float64"].ended
    layers = {**graph.listed, **graph.layers}
    for call in graph.calls:
        layer = layers[call.layer]
        last = layer.last_activation
        passes = layer.class_name in (*POOLS, *MEANS, *AVERAGES, *RESHAPES, *JOINS) and last is None
        if call.value in ended and subject.outputs:
            continue  # its logits have its name
        if (last is not None and last.get("name") in NONNEGATIVE_ACTIVATIONS) or (
            passes and all(value in above for value in call.inputs)
        ):
            above.add(call.value)
    yield from (name for value, name in subject.taps.items() if value in above)
