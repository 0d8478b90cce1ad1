"""Single layers with weights that real Keras runs, in float64: cases, and functions to call through ``keras_side``."""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras_scale import scale_class

from weight_transfer.layer_types import LAYER_TYPES, ROLE_ALIASES, Options, Settings, Weight

LIBRARIES = ("keras", "tf_keras")


@dataclass(frozen=True)
class Case:
    """One layer on one input: shape without the batch, in the layout that Keras runs."""

    class_name: str
    in_shape: tuple[int, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    data_format: str = "channels_last"  # of the model that the importer is told of

    def __str__(self) -> str:
        return f"{self.class_name}({self.arguments}) on {self.in_shape}"


@dataclass(frozen=True)
class Report:
    """What Keras says of a case."""

    case: Case
    config: dict[str, Any]
    out_shape: tuple[int | None, ...]
    weights: dict[str, np.ndarray]  # by the name of the variable, in Keras's order
    x: np.ndarray
    y: np.ndarray


def run_cases(library: str, cases: Sequence[Case]) -> list[Report | str]:
    """Runs every case; a text where this Keras refuses it."""
    __import__(library).backend.clear_session()  # once: it takes longer than a case
    return [_run_or_refusal(library, case, seed) for seed, case in enumerate(cases)]


def _run_or_refusal(library: str, case: Case, seed: int) -> Report | str:
    try:
        return _run(library, case, seed)
    except Exception as error:  # whatever Keras and TensorFlow raise
        return f"{type(error).__name__}: {error}"


def _run(library: str, case: Case, seed: int) -> Report:
    model, layer = _model(library, case, "float64")
    rng = np.random.default_rng(seed)
    layer.set_weights([_random(rng, _name(variable), variable.shape) for variable in layer.weights])
    if case.class_name == "Normalization":
        layer.finalize_state()  # set_weights alone would leave what it computes with as it was
    x = rng.normal(size=(2, *case.in_shape))
    return Report(
        case, _config(layer), tuple(model.output_shape[1:]), _arrays(layer), x, np.asarray(model(x, training=False))
    )


def _model(library: str, case: Case, dtype: str) -> tuple[Any, Any]:
    keras = __import__(library)
    layer_class = scale_class(keras) if case.class_name == "Scale" else getattr(keras.layers, case.class_name)
    # A copy: tf_keras wraps lists in place, and unpickling the wrappers imports TensorFlow into pytest's process.
    layer = layer_class(dtype=dtype, **copy.deepcopy(case.arguments))
    image = keras.Input(case.in_shape, dtype=dtype)
    return keras.Model(image, layer(image)), layer


def _config(layer: Any) -> dict[str, Any]:
    return json.loads(json.dumps(layer.get_config(), default=list))  # as a file holds it; lists that Keras tracks


def _arrays(layer: Any) -> dict[str, np.ndarray]:
    names = (_name(variable).removeprefix(f"{layer.name}_") for variable in layer.weights)  # Scale's own way
    return dict(zip(names, layer.get_weights(), strict=True))


def _name(variable: Any) -> str:
    return variable.name.rpartition("/")[2].partition(":")[0]


def _random(rng: np.random.Generator, name: str, shape: Any) -> np.ndarray:
    if name == "count":
        return np.asarray(7)
    values = rng.normal(size=tuple(shape))
    return np.abs(values) + 0.5 if "variance" in name else values


def training_steps(library: str, case: Case, dtype: str, batches: Sequence[np.ndarray]) -> dict[str, Any]:
    """Calls the layer with ``training=True`` on each batch; returns its weights before and after, and the outputs."""
    model, layer = _model(library, case, dtype)
    rng = np.random.default_rng(0)
    layer.set_weights([_random(rng, _name(variable), variable.shape) for variable in layer.weights])
    before = _arrays(layer)
    outputs = [np.asarray(model(batch.astype(dtype), training=True)) for batch in batches]
    return {"config": _config(layer), "before": before, "after": _arrays(layer), "outputs": outputs}


SIZES = {1: (11,), 2: (9, 7), 3: (5, 6, 7)}


def _named() -> list[Case]:
    """One case for each option of each class."""
    cases = [Case("Conv1D", (11, 4), {"filters": 6, "kernel_size": 3, "padding": "causal", "dilation_rate": 2})]
    cases += [Case("Conv1D", (11, 4), {"filters": 6, "kernel_size": 2, "padding": "causal", "strides": 2})]
    for rank, sizes in SIZES.items():
        conv = functools.partial(Case, f"Conv{rank}D", (*sizes, 4))
        cases += [
            conv({"filters": 6, "kernel_size": 3, "padding": "same"}),
            conv({"filters": 6, "kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False}),
            conv({"filters": 6, "kernel_size": 3, "groups": 2, "activation": "linear"}),
        ]
        transposed = functools.partial(Case, f"Conv{rank}DTranspose", (*sizes, 4))
        for kernel_size, strides in ((3, 2), (4, 2), (2, 3)):
            both = {"filters": 6, "kernel_size": kernel_size, "strides": strides}
            cases += [transposed(both | {"padding": padding}) for padding in ("same", "valid")]
            cases += [transposed(both | {"output_padding": 1, "padding": padding}) for padding in ("same", "valid")]
    cases += [Case("Dense", shape, {"units": 5}) for shape in ((7,), (6, 7), (4, 5, 7), (2, 3, 4, 7))]
    cases += [Case("Dense", (7,), {"units": 5, "use_bias": False})]
    cases += [Case("Dense", (6, 7), {"units": 5}, "channels_first")]
    return cases + _normalizations()


def _normalizations() -> list[Case]:
    shapes = ((6,), (5, 6), (3, 4, 6), (2, 3, 4, 6))
    cases = [Case("BatchNormalization", shape, {"epsilon": 1e-5}) for shape in shapes]
    cases += [
        Case("BatchNormalization", (3, 4, 6), {"scale": scale, "center": center})
        for scale, center in ((False, True), (True, False), (False, False))
    ]
    cases += [Case("BatchNormalization", (3, 4, 6), {"axis": axis}) for axis in (1, 2, -2)]
    cases += [Case("BatchNormalization", shape, {"axis": 1}, "channels_first") for shape in ((6, 5), (6, 3, 4))]
    cases += [Case("LayerNormalization", shape, {"epsilon": 1e-5}) for shape in shapes]
    cases += [
        Case("LayerNormalization", (3, 4, 6), {"axis": axis, "scale": scale, "center": not scale or axis == 1})
        for axis in (1, -1, [1, 2, 3], [2, 3], [1, 3], [-2, -1])
        for scale in (True, False)
    ]
    cases += [Case("LayerNormalization", (6, 3, 4), {"axis": axis}, "channels_first") for axis in (1, -1, [1, 2, 3])]
    cases += [Case("GroupNormalization", shape, {"groups": 3}) for shape in shapes]
    cases += [Case("GroupNormalization", (3, 4, 6), {"groups": groups}) for groups in (1, 2, 6, -1)]
    cases += [Case("GroupNormalization", (3, 4, 6), {"groups": 2, "scale": False, "epsilon": 1e-5})]
    cases += [Case("GroupNormalization", (3, 4, 6), {"groups": 2, "center": False})]
    cases += [Case("GroupNormalization", (6, 3, 4), {"groups": 2, "axis": 1}, "channels_first")]
    cases += [Case("GroupNormalization", (3, 4, 6), {"groups": 2, "axis": -2})]
    cases += [Case("Normalization", shape) for shape in shapes]
    cases += [Case("Normalization", (3, 4, 6), {"axis": axis}) for axis in (None, 1, [1, 3], [1, 2, 3])]
    cases += [Case("Normalization", (6, 3, 4), {"axis": 1}, "channels_first")]
    cases += [Case("Normalization", (3, 4, 6), {"invert": True})]
    # Numbers that float32 holds: Keras 3 rounds the others to it, in a float64 layer too, and tf_keras does not.
    given = {"mean": [0.125, 0.25, 0.375], "variance": [0.0, 2.0, 3.0]}
    cases += [Case("Normalization", (5, 4, 3), given), Case("Normalization", (3,), given)]
    cases += [Case("Normalization", (5, 4, 3), {"mean": 0.125, "variance": 0.75, "axis": None})]
    cases += [Case("Normalization", (5, 4, 3), {"mean": 0.125, "variance": 0.75})]
    grid = {
        "mean": [[0.125, 0.25, 0.5], [1.5, 2.5, 3.5]],
        "variance": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "axis": [2, 3],
    }
    cases += [Case("Normalization", (5, 2, 3), grid)]
    cases += [Case("Scale", shape) for shape in shapes]
    cases += [Case("Scale", (3, 4, 6), {"axis": axis, "momentum": 0.5}) for axis in (1, 2, 3, -2)]
    cases += [Case("Scale", shape, {"axis": 1}, "channels_first") for shape in ((6, 5), (6, 3, 4), (6, 2, 3, 4))]
    cases += [Case("PReLU", shape) for shape in shapes]
    cases += [Case("PReLU", (3, 4, 6), {"shared_axes": axes}) for axes in ([1, 2], [1], [1, 2, 3], [3], [-1])]
    cases += [Case("PReLU", (5, 6), {"shared_axes": [1]})]
    cases += [Case("PReLU", (6, 3, 4), {"shared_axes": axes}, "channels_first") for axes in ([2, 3], [2], None)]
    return cases


# How many of each class.
SWEPT = {
    "Conv1D": 12, "Conv2D": 16, "Conv3D": 8, "DepthwiseConv1D": 8, "DepthwiseConv2D": 12, "SeparableConv1D": 8,
    "SeparableConv2D": 8, "Conv1DTranspose": 12, "Conv2DTranspose": 16, "Conv3DTranspose": 8,
}  # fmt: skip


def _swept() -> list[Case]:
    rng = random.Random(0)
    return [_drawn(rng, name) for name, count in SWEPT.items() for _ in range(count)]


def _drawn(rng: random.Random, class_name: str) -> Case:
    """A convolution of random options, as TensorFlow on a CPU allows them."""
    rank = int(class_name[class_name.index("D", 1 + class_name.index("Conv")) - 1])
    depthwise, transposed = class_name.startswith(("Depth", "Sep")), class_name.endswith("Transpose")
    sizes = [rng.randint(5, 12 if rank < 3 else 7) for _ in range(rank)]
    dilated = not transposed and rng.random() < 0.3
    # In float64, TensorFlow's Conv3D errs where a stride exceeds the kernel by 2; in float32 it does not.
    most = 2 if class_name == "Conv3D" or dilated else 3
    kernel_size = [rng.randint(1, 3 if dilated or rank == 3 else 5) for _ in range(rank)]
    steps = [rng.randint(1, most) for _ in range(rank)]
    arguments: dict[str, Any] = {
        "kernel_size": kernel_size,
        "dilation_rate" if dilated else "strides": steps[:1] * rank if depthwise else steps,  # its kernels want squares
        "padding": rng.choice(["same", "valid"]),
        "use_bias": rng.random() < 0.7,
    }
    if depthwise:
        arguments["depth_multiplier"] = rng.randint(1, 3)
    if not class_name.startswith("Depth"):
        arguments["filters"] = rng.choice([2, 4, 6])
    if class_name in ("Conv1D", "Conv2D", "Conv3D"):
        arguments["groups"] = rng.choice([1, 1, 2])
    if transposed and rng.random() < 0.4:
        arguments |= _output_padding(rng, arguments)
    return Case(class_name, (*sizes, rng.choice([2, 4, 6])), arguments)


def _output_padding(rng: random.Random, arguments: dict[str, Any]) -> dict[str, Any]:
    """Below the stride; 1 at least where 'same' meets an even kernel, which TensorFlow then demands."""
    even = [arguments["padding"] == "same" and size % 2 == 0 for size in arguments["kernel_size"]]
    strides = [max(step, 2) if least else step for step, least in zip(arguments["strides"], even, strict=True)]
    amounts = [rng.randint(int(least), step - 1) for step, least in zip(strides, even, strict=True)]
    return {"strides": strides, "output_padding": amounts}


CASES = [*_named(), *_swept()]

_reports: dict[str, list[Report | str]] = {}


def reports(keras_side: Callable[..., Any], library: str) -> list[Report | str]:
    """What this Keras says of every case, asked once in a test run."""
    if library not in _reports:
        _reports[library] = keras_side(run_cases, library, CASES)
    return _reports[library]


def settings_of(case: Case, config: dict[str, Any]) -> Settings:
    """What the table reads from a config, nothing left unread."""
    options = Options("block/layer", case.class_name, config, [case.in_shape], case.data_format)
    settings = LAYER_TYPES[case.class_name].settings(options)
    options.finish()
    return settings


def weights_of(case: Case, settings: Settings, arrays: dict[str, np.ndarray]) -> list[tuple[Weight, np.ndarray]]:
    """The table's weights beside the arrays of these names; fails where they differ in number or in order."""
    rows = LAYER_TYPES[case.class_name].weights(settings, [case.in_shape])
    roles = [name if name in rows else ROLE_ALIASES[name] for name in arrays]
    assert roles == list(rows), case
    return [(rows[role], array) for role, array in zip(roles, arrays.values(), strict=True)]


def channels_first(report: Report) -> Report:
    """The same convolution as channels_first has it: TensorFlow on a CPU computes none, so this moves the axes."""
    move = lambda shape: (shape[-1], *shape[:-1])  # noqa: E731
    case = Case(report.case.class_name, move(report.case.in_shape), report.case.arguments, "channels_first")
    x, y = (np.moveaxis(array, -1, 1) for array in (report.x, report.y))
    return Report(case, report.config | {"data_format": "channels_first"}, move(report.out_shape), report.weights, x, y)
