"""Networks drawn at random, built by real Keras: the port computes every layer as Keras does, at 1e-12 in float64.

Each is a JSON description of `keras_random_networks`; hypothesis shortens one that fails.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_random_networks
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from weight_transfer import Hints, verify
from weight_transfer.graph import Graph
from weight_transfer.parity.inputs import Case
from weight_transfer.parity.tolerances import TOLERANCES

GRAPH = Hints(import_as="graph")
MAX_ELEMENTS = 4000  # of one example's value
MAX_FLATTENED = 1000

# Those that keep the size of what they take; "relu" often, as in real networks.
ACTIVATIONS = (
    "relu",
    "relu",
    "relu",
    "linear",
    "elu",
    "selu",
    "gelu",
    "swish",
    "softplus",
    "softsign",
    "tanh",
    "sigmoid",
)
ACTIVATIONS += ("hard_sigmoid", "mish", "leaky_relu", "softmax")
ACTIVATION_LAYERS = {
    "Activation": lambda draw, _: {"activation": draw(st.sampled_from((*ACTIVATIONS[3:], "relu6")))},
    "ReLU": lambda draw, _: draw(st.sampled_from(({}, {"max_value": 6.0}, {"threshold": 0.1, "negative_slope": 0.2}))),
    "LeakyReLU": lambda draw, _: {},
    "ELU": lambda draw, _: {"alpha": draw(st.sampled_from((1.0, 0.4)))},
    "PReLU": lambda draw, rank: {"shared_axes": list(range(1, rank + 1))} if draw(st.booleans()) else {},
    "Softmax": lambda draw, _: {},
}
MERGES = ("Add", "Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate")


@dataclass
class Network:
    """A description in the making; every method adds layers and returns the value's number."""

    draw: Any
    family: str
    rank: int
    inputs: list[list[int]]
    layers: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shapes = [list(shape) for shape in self.inputs]

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def maybe(self) -> bool:
        return self.draw(st.booleans())

    def per_axis(self, *choices: int) -> list[int]:
        return [self.pick(*choices) for _ in range(self.rank)]

    def add(self, class_name: str, values: int | list[int], shape: list[int], **config: Any) -> int:
        inputs = values if isinstance(values, list) else [values]
        self.layers.append({"class_name": class_name, "inputs": inputs, "config": config})
        self.shapes.append([int(size) for size in shape])
        return len(self.shapes) - 1

    def spatial(self, class_name: str, x: int, sizes: list[int], channels: int | None = None, **config: Any) -> int:
        name = class_name.format(self.rank)
        return self.add(name, x, [*sizes, self.shapes[x][-1] if channels is None else channels], **config)

    def activation_option(self) -> dict[str, str]:
        return {"activation": self.pick(*ACTIVATIONS)} if self.maybe() else {}

    # Layers that keep the size.

    def activation(self, x: int) -> int:
        name = self.pick("Activation", *ACTIVATION_LAYERS)
        return self.add(name, x, self.shapes[x], **ACTIVATION_LAYERS[name](self.draw, len(self.shapes[x]) - 1))

    def norm(self, x: int) -> int:
        kind = self.pick("Batch", "Batch", "Batch", "Layer", "Group")
        config: dict[str, Any] = {"epsilon": self.pick(1e-3, 1.001e-5, 0.017)}
        config |= {key: False for key in ("scale", "center") if self.pick(True, True, False) is False}
        if kind == "Batch":
            axes = range(1, len(self.shapes[x]) + 1)
            config |= {"axis": self.pick(-1, -1, *axes), "momentum": self.pick(0.99, 0.9)}
        elif kind == "Layer":  # over several axes Keras 3 cannot read its own .h5; the layers' own tests have them
            config["axis"] = [-1]
        else:
            channels = self.shapes[x][-1]
            config["groups"] = self.pick(*(n for n in range(1, channels + 1) if channels % n == 0))
        return self.add(f"{kind}Normalization", x, self.shapes[x], **config)

    def dropout(self, x: int) -> int:
        name = self.pick("Dropout", f"SpatialDropout{self.rank}D", "GaussianNoise", "GaussianDropout")
        config = {"stddev": 0.3} if name == "GaussianNoise" else {"rate": 0.3}
        return self.add(name, x, self.shapes[x], **config)

    # Convolutions.

    def conv(self, x: int, filters: int | None = None, stride: int | None = None, *, keep: bool = False) -> int:
        """A plain convolution, or one of the kinds that are built of two; ``keep`` demands padding "same"."""
        *sizes, channels = self.shapes[x]
        filters = filters or self.pick(2, 3, 4, 6)
        separable = self.rank < 3 and self.pick(False, False, True)
        kernel = [min(size, n) for size, n in zip(sizes, self.per_axis(1, 2, 3, 4, 5), strict=True)]
        padding = "same" if keep else self.pick("same", "valid")
        strides = [stride] * self.rank if stride else [1] * self.rank if keep else self.per_axis(1, 1, 2, 3)
        dilation = [1] * self.rank
        if strides == dilation and self.rank < 3 and self.maybe():
            dilation = self.per_axis(1, 2)
        if self.rank == 3:  # TensorFlow's float64 Conv3D starts late where a stride passes its window by two
            strides = [min(step, n + 1) for step, n in zip(strides, kernel, strict=True)]
        if separable:  # TensorFlow's depthwise kernels want the same along each axis
            strides, dilation = [strides[0]] * self.rank, [dilation[0]] * self.rank
        if padding == "valid":  # what of the dilated kernel fits
            kernel = [min(n, (size - 1) // rate + 1) for n, size, rate in zip(kernel, sizes, dilation, strict=True)]
        config = {"kernel_size": kernel, "padding": padding, "strides": strides, "dilation_rate": dilation}
        config |= {"use_bias": self.maybe(), **self.activation_option()}
        sizes = [
            -(-(size if padding == "same" else size - (n - 1) * rate) // step)
            for size, n, rate, step in zip(sizes, kernel, dilation, strides, strict=True)
        ]
        if separable:
            multiplier = self.pick(1, 2)
            if self.maybe():
                return self.spatial(
                    "SeparableConv{}D", x, sizes, filters, filters=filters, depth_multiplier=multiplier, **config
                )
            x = self.spatial("DepthwiseConv{}D", x, sizes, channels * multiplier, depth_multiplier=multiplier, **config)
            return self.spatial("Conv{}D", x, sizes, filters, filters=filters, kernel_size=1)
        if dilation == [1] * self.rank:
            config.pop("dilation_rate")
            groups = [n for n in (1, 2, 3) if channels % n == 0 and filters % n == 0]
            config["groups"] = self.pick(1, *groups)
        return self.spatial("Conv{}D", x, sizes, filters, filters=filters, **config)

    def transposed_conv(self, x: int) -> int:
        sizes, filters = self.shapes[x][:-1], self.pick(2, 3, 4)
        kernel, strides = self.per_axis(1, 2, 3, 4), self.per_axis(1, 2, 3)
        padding = self.pick("same", "valid")
        config = {"filters": filters, "kernel_size": kernel, "strides": strides, "padding": padding}
        config |= {"use_bias": self.maybe(), **self.activation_option()}
        grown = [
            size * step if padding == "same" else (size - 1) * step + max(n, step)
            for size, n, step in zip(sizes, kernel, strides, strict=True)
        ]
        if math.prod(grown) * filters > MAX_ELEMENTS:
            return x
        return self.spatial("Conv{}DTranspose", x, grown, filters, **config)

    # Layers that change the size.

    def pool(self, x: int) -> int:
        if self.rank == 3:  # TensorFlow pools three axes in float32 alone
            return x
        sizes, padding = self.shapes[x][:-1], self.pick("same", "valid")
        window = [min(size, n) for size, n in zip(sizes, self.per_axis(2, 3), strict=True)]
        strides = window if self.maybe() else self.per_axis(1, 2)
        sizes = [
            -(-(size if padding == "same" else size - n + 1) // step)
            for size, n, step in zip(sizes, window, strides, strict=True)
        ]
        config = {"pool_size": window, "strides": strides, "padding": padding}
        if self.rank == 1:
            config |= {"pool_size": window[0], "strides": strides[0]}
        return self.spatial(f"{self.pick('Max', 'Average')}Pooling{{}}D", x, sizes, **config)

    def pad(self, x: int) -> int:
        margins = [[self.pick(0, 1, 2), self.pick(0, 1, 2)] for _ in range(self.rank)]
        sizes = [size + sum(pair) for size, pair in zip(self.shapes[x], margins, strict=False)]
        if math.prod(sizes) * self.shapes[x][-1] > MAX_ELEMENTS:
            return x
        return self.spatial("ZeroPadding{}D", x, sizes, padding=margins if self.rank > 1 else margins[0])

    def crop(self, x: int) -> int:
        sizes = self.shapes[x][:-1]
        if min(sizes) < 4:
            return x
        margins = [[self.pick(0, 1), self.pick(0, 1, 2)] for _ in range(self.rank)]
        return self.crop_by(x, margins)

    def crop_by(self, x: int, margins: list[list[int]]) -> int:
        sizes = [size - sum(pair) for size, pair in zip(self.shapes[x], margins, strict=False)]
        return self.spatial("Cropping{}D", x, sizes, cropping=margins if self.rank > 1 else margins[0])

    def upsample(self, x: int, factors: list[int] | None = None) -> int:
        factors = factors or self.per_axis(1, 2)
        sizes = [size * factor for size, factor in zip(self.shapes[x], factors, strict=False)]
        if math.prod(sizes) * self.shapes[x][-1] > MAX_ELEMENTS:
            return x
        config: dict[str, Any] = {"size": factors if self.rank > 1 else factors[0]}
        return self.spatial("UpSampling{}D", x, sizes, **config)

    # Blocks.

    def body(self, x: int, most: int = 3) -> int:
        for _ in range(self.draw(st.integers(0, most))):
            x = getattr(self, self.pick("norm", "activation", "activation", "dropout", "conv_keeping"))(x)
        return x

    def conv_keeping(self, x: int) -> int:
        return self.conv(x, keep=True)

    def residual(self, x: int) -> int:
        """Merges a branch with its input, or with a projection of it."""
        stride = self.pick(1, 1, 2)
        y = self.body(self.conv(x, None, stride, keep=True))
        merge = self.pick(*MERGES)
        filters = self.shapes[x][-1]
        if stride > 1 or self.maybe():
            filters = self.pick(2, 4)
            x = self.conv(x, filters, stride, keep=True)
        if merge != "Concatenate":
            y = self.conv(y, filters, keep=True)
        return self.activation(self.merged(merge, x, y)) if self.maybe() else self.merged(merge, x, y)

    def merged(self, merge: str, x: int, y: int) -> int:
        *sizes, channels = self.shapes[x]
        channels += self.shapes[y][-1] if merge == "Concatenate" else 0
        return self.add(merge, [x, y], [*sizes, channels])

    def squeeze_excite(self, x: int) -> int:
        channels = self.shapes[x][-1]
        pooling = f"Global{self.pick('Average', 'Max')}Pooling{self.rank}D"
        ones = [*[1] * self.rank, channels]
        if self.maybe():
            s = self.add(pooling, x, ones, keepdims=True)
        else:
            s = self.add("Reshape", self.add(pooling, x, [channels]), ones, target_shape=ones)
        s = self.add("Dense", s, [*ones[:-1], 2], units=2, activation="relu")
        s = self.add("Dense", s, ones, units=channels, activation="sigmoid", use_bias=self.maybe())
        return self.add("Multiply", [x, s], self.shapes[x])

    def hourglass(self, x: int) -> int:
        """Down, up again, cropped to fit, and side by side with its input."""
        if self.rank == 3:
            return x
        sizes = self.shapes[x][:-1]
        halved = [-(-size // 2) for size in sizes]
        y = self.spatial(f"{self.pick('Max', 'Average')}Pooling{{}}D", x, halved, pool_size=2, padding="same")
        y = self.body(y)
        if math.prod(halved) * 2**self.rank * self.shapes[y][-1] > MAX_ELEMENTS:
            return x
        y = self.upsample(y, [2] * self.rank)
        y = self.crop_by(y, [[0, 2 * half - size] for half, size in zip(halved, sizes, strict=True)])
        return self.merged("Concatenate", x, y)

    def head(self, x: int) -> int:
        *_sizes, channels = self.shapes[x]
        kind = self.pick("GlobalAverage", "GlobalMax", "Flatten", "none")
        if kind == "none":
            return x
        if kind == "Flatten" and math.prod(self.shapes[x]) <= MAX_FLATTENED:
            x = self.add("Flatten", x, [math.prod(self.shapes[x])])
        else:
            kind = kind if kind != "Flatten" else "GlobalMax"
            x = self.add(f"{kind}Pooling{self.rank}D", x, [channels])
        if self.maybe():
            x = self.add("Dropout", self.add("Dense", x, [5], units=5, **self.activation_option()), [5], rate=0.5)
        return self.add("Dense", x, [3], units=3, activation=self.pick("softmax", "sigmoid", "linear"))


BLOCKS = ("residual",) * 5 + ("conv", "transposed_conv", "pool", "pad", "crop", "upsample", "squeeze_excite")
BLOCKS += ("hourglass", "norm", "activation", "body")


@st.composite
def networks(draw: Any) -> dict[str, Any]:
    """A description of a network that Keras can build and TensorFlow can run on a CPU.

    All upsampling is "nearest": TensorFlow resizes by "bilinear" in float32 whatever the network's precision.
    """
    family = draw(st.sampled_from(("keras", "tf_keras")))
    suffix = draw(st.sampled_from((".h5", ".keras")))
    rank = draw(st.sampled_from((2, 2, 2, 2, 1, 3)))
    sizes = draw(st.lists(st.integers(5, 17 if rank < 3 else 7), min_size=rank, max_size=rank))
    network = Network(draw, family, rank, [[*sizes, draw(st.sampled_from((3, 1, 2)))]])
    blocks = draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4))
    x = network.conv(0)  # a file without any weights is no checkpoint
    ends = []
    for block in blocks:
        x = getattr(network, block)(x)
        if draw(st.sampled_from((False, False, False, True))):
            ends.append(x)
    x = network.head(x)
    outputs = list(dict.fromkeys([*ends, x]))
    return {
        "family": family,
        "suffix": suffix,
        "seed": draw(st.integers(0, 99)),
        "inputs": network.inputs,
        "layers": network.layers,
        "outputs": [value for value in outputs if value >= len(network.inputs)] or [network.activation(x)],
    }


def _one_batch(network: Graph, **_: Any) -> list[Case]:
    """In place of `weight_transfer.parity.inputs.cases`: one batch of noise, of the size that the weights fit."""
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=(2, *shape)).astype(np.float32) for shape in network.inputs.values()]
    return [Case("noise", tuple(arrays), raw=False)]


@pytest.fixture(scope="module")
def check(keras_side, tmp_path_factory, runner):
    """Builds a description with Keras and compares its port with it."""
    folder: Path = tmp_path_factory.mktemp("random")

    def run(description: dict[str, Any]) -> None:
        path = folder / f"model{description['suffix']}"
        keras_side(keras_random_networks.save_described, path, description)
        found = verify(path, hints=GRAPH, devices=("cpu",), training=False, runner=runner)
        wrong = [
            row
            for row in found.rows
            if row.peak and not row.errors.get("float64", 0.0) <= TOLERANCES["inference"]["float64"].error
        ]
        assert not wrong, wrong[0]
        assert found.weights_equal == found.weights_total
        assert sum(row.peak > 0 for row in found.rows) >= len(found.rows) / 2
        assert found.loaded_by.startswith(description["family"])

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("weight_transfer.parity.reference.cases", _one_batch)
        yield run


RIGHT_PORTS = 100

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=QUIET)
@given(description=networks())
def test_random_networks(check, description):
    check(description)


@pytest.mark.slow
def test_a_hundred_right_ports_raise_no_alarm(keras_side, tmp_path, runner):
    verdicts: Counter[str] = Counter()
    alarms: list[str] = []

    @settings(
        max_examples=RIGHT_PORTS,
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        suppress_health_check=QUIET,
    )
    @given(description=networks())
    def judge(description: dict[str, Any]) -> None:
        path = tmp_path / f"model{description['suffix']}"
        keras_side(keras_random_networks.save_described, path, description)
        found = verify(path, hints=GRAPH, devices=("cpu",), runner=runner)
        verdicts[found.verdict] += 1
        if found.verdict not in ("SAME FUNCTION", "EQUAL"):
            rows = [f"{row.check} {row.name} {row.errors}" for row in found.rows if not row.passed]
            alarms.append(f"{found.verdict}: {rows or found.unproven}: {json.dumps(description)}")

    judge()
    assert not alarms, "\n".join(alarms)
    assert sum(verdicts.values()) >= RIGHT_PORTS
