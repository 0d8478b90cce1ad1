"""Configs of every row of the table of layer types, from the cases that real Keras is asked about, and by hand."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_layers
import supported

from weight_transfer.graph import Call, Graph, Layer
from weight_transfer.layer_types import LAYER_TYPES, Options
from weight_transfer.layer_types.activations import ACTIVATIONS

IMAGE = (8, 6, 3)
LAYER = "layer"
# Names of earlier Kerases for classes that have cases.
ALIASES = {
    **{f"Convolution{rank}D": f"Conv{rank}D" for rank in (1, 2, 3)},
    **{f"SeparableConvolution{rank}D": f"SeparableConv{rank}D" for rank in (1, 2)},
    **{f"BatchNormalizationV{number}": "BatchNormalization" for number in (1, 2)},
}
FLIP, EVERY, ONE = ["Ellipsis", {"step": -1}], ["Ellipsis", {"start": 1}], ["Ellipsis", 1]


@dataclass(frozen=True)
class Variant:
    """A config of a class, on inputs of these shapes."""

    class_name: str
    config: Mapping[str, Any]
    in_shapes: Sequence[tuple[int, ...]]
    data_format: str = "channels_last"

    def __str__(self) -> str:
        return f"{self.class_name}({dict(self.config)}) on {list(self.in_shapes)}, {self.data_format}"

    def graph(self) -> Graph:
        """A network of this one layer."""
        options = Options(LAYER, self.class_name, self.config, self.in_shapes, self.data_format)
        row = LAYER_TYPES[self.class_name]
        settings = row.settings(options)
        out_shape = row.out_shape(settings, self.in_shapes)
        inputs = {f"input_{number}": shape for number, shape in enumerate(self.in_shapes)}
        return Graph(
            name="one_layer",
            layers={LAYER: Layer(LAYER, self.class_name, {}, settings, tuple(self.in_shapes), out_shape)},
            calls=(Call(LAYER, LAYER, tuple(inputs)),),
            inputs=inputs,
            outputs=(LAYER,),
            data_format=self.data_format,
        )


@functools.cache
def variants() -> dict[str, list[Variant]]:
    """Every variant by class."""
    found: dict[str, list[Variant]] = {}
    for one in (*_weighted(), *_unweighted(), *_operations()):
        found.setdefault(one.class_name, []).append(one)
    for alias, name in ALIASES.items():
        found[alias] = [Variant(alias, one.config, one.in_shapes, one.data_format) for one in found[name]]
    return found


def _weighted() -> Iterator[Variant]:
    for case in keras_layers.CASES:
        config = {"axis": -1, "momentum": 0.99, **case.arguments} if case.class_name == "Scale" else case.arguments
        yield Variant(case.class_name, config, [case.in_shape], case.data_format)
    yield Variant("Conv1D", {"filters": 2, "kernel_size": 3, "padding": "causal", "activation": "relu"}, [(9, 4)])
    for name in ACTIVATIONS:
        yield Variant("Dense", {"units": 4, "activation": name}, [(5,)])


def _unweighted() -> Iterator[Variant]:
    for case in supported.module_at("resnet_torch/layers/test_torch_layers_unweighted.py").CASES:
        config = {**case.arguments, "trainable": True, "data_format": case.data_format}
        activation = config.get("activation")
        if isinstance(activation, dict):
            ((class_name, arguments),) = activation.items()
            config["activation"] = {"class_name": class_name, "config": arguments}
        if case.name in LAYER_TYPES:
            yield Variant(case.name, config, case.shapes, case.data_format or "channels_last")
    factors = {"height_factor": 0.2, "width_factor": [-0.1, 0.3], "fill_mode": "constant", "fill_value": 2.0}
    yield from (Variant(name, factors, [IMAGE]) for name in ("RandomZoom", "RandomTranslation"))
    yield Variant("RandomFlip", {"mode": "vertical", "keras_version": "3.5.0"}, [IMAGE])
    yield Variant("RandomCrop", {"height": 4, "width": 5, "keras_version": "2.15.0"}, [IMAGE])
    for mode, shapes in itertools.product(("sum", "mul", "ave", "max", "concat"), ([IMAGE] * 2, [(5,)] * 3)):
        yield Variant("Merge", {"mode": mode}, shapes)


def _operations() -> Iterator[Variant]:
    constants = ({"1": 2.0}, {"0": 1.5}, {"1": [1.0, 2.0, 4.0]})
    for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "TrueDivide", "Divide"):
        yield from (Variant(name, {"arguments": arguments}, [IMAGE]) for arguments in constants)
        yield Variant(name, {}, [IMAGE] * 2)
    yield Variant("Negative", {}, [IMAGE])
    yield from (Variant("GetItem", {"arguments": {"1": item}}, [IMAGE]) for item in (FLIP, EVERY, ONE))
    yield from (Variant("GetItem", {"arguments": {"1": item}}, [(3, 8, 6)], "channels_first") for item in (FLIP, ONE))
    yield from (Variant("Stack", {"axis": axis}, [(8, 6)] * 3) for axis in (1, 2, -1))
    yield Variant("Cast", {"dtype": "float32"}, [IMAGE])
    functions = {"math.add": {"y": 1.5}, "nn.relu": {}, "nn.relu6": {}, "cast": {"dtype": "float32"}}
    for function, arguments in functions.items():
        yield Variant("TFOpLambda", {"function": function, "arguments": arguments}, [IMAGE])
    yield from (Variant("TFOpLambda", {"function": "concat", "arguments": {"axis": a}}, [IMAGE] * 2) for a in (1, 3))
    for item in (FLIP, EVERY, ONE):
        config = {"function": "__operators__.getitem", "arguments": {"slice_spec": item}}
        yield Variant("SlicingOpLambda", config, [IMAGE])
