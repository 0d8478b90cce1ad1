"""The graph of a ResNet, built from its architecture: every layer with its Keras arguments and its PyTorch module."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from weight_transfer.architecture import Architecture
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph.facts import read_layer
from weight_transfer.graph.graph import INPUT, Call, Graph, Layer
from weight_transfer.layer_types import Shape
from weight_transfer.module_paths import checked_name

STEM_KERNEL, STEM_STRIDE, STEM_PAD = 7, 2, 3  # He et al. 2015, table 1
POOL_KERNEL, POOL_STRIDE, POOL_PAD = 3, 2, 1
INPUT_NAME = "input_layer"

# Class of each initializer. Source: keras/src/initializers/random_initializers.py.
INITIALIZERS: Mapping[str, str] = {"he_normal": "HeNormal", "glorot_uniform": "GlorotUniform"}


def _initializer(class_name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.initializers", "class_name": class_name, "config": config, "registered_name": None}


_ZEROS, _ONES = _initializer("Zeros"), _initializer("Ones")

# Arguments of each class that no ResNet varies, at Keras's defaults, which older files are read with as well.
# Source: get_config of each class, keras 3.15.1 and tf_keras 2.21.0; both agree on these.
CONSTANTS: Mapping[str, Mapping[str, Any]] = {
    "ZeroPadding2D": {"data_format": "channels_last"},
    "Conv2D": {
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "bias_initializer": _ZEROS,
    },
    "BatchNormalization": {
        "center": True,
        "scale": True,
        "beta_initializer": _ZEROS,
        "gamma_initializer": _ONES,
        "moving_mean_initializer": _ZEROS,
        "moving_variance_initializer": _ONES,
    },
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "MaxPooling2D": {"data_format": "channels_last"},
    "Add": {},
    "GlobalAveragePooling2D": {"data_format": "channels_last", "keepdims": False},
    "GlobalMaxPooling2D": {"data_format": "channels_last", "keepdims": False},
    "Dropout": {"seed": None, "noise_shape": None},
    "Dense": {"kernel_initializer": _initializer("GlorotUniform", seed=None), "bias_initializer": _ZEROS},
}


@lru_cache(maxsize=4096)
def _read(class_name: str, config: str, in_shapes: tuple[Shape, ...]) -> Layer:
    """A layer as the table reads it, without a name; a ResNet has many that are alike, and so have the dialects."""
    return read_layer(Layer("", class_name, json.loads(config)), {}, in_shapes, "channels_last", None)


def resnet_graph(architecture: Architecture) -> Graph:
    """Returns the graph of a ResNet, its layers in the order in which the twins build them.

    The model is named ``resnet`` and its depth: ``resnet50``.

    Raises:
        ArchitectureError: The input is too small for the network, or two layers have one name.
    """
    return _built(architecture)


@lru_cache(maxsize=128)
def _built(architecture: Architecture) -> Graph:
    return _Builder(architecture).build()


class _Builder:
    """Adds layer after layer, keeping track of the shapes."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        shape = architecture.in_shape
        self.layers: dict[str, Layer] = {}
        self.calls: list[Call] = []
        self.layout: dict[str, tuple[str, ...]] = {}
        self.input = Layer(INPUT_NAME, INPUT, {"batch_shape": [None, *shape]}, out_shape=shape)

    def build(self) -> Graph:
        """Returns the whole network."""
        x = self._stem(INPUT_NAME)
        for position, stage in enumerate(self.architecture.stages):
            for index in range(self.architecture.block_counts[position]):
                x = self._block(x, stage, position, index)
        x = self._head(x)
        return Graph(
            name=f"resnet{self.architecture.depth}",
            layers=self.layers,
            calls=tuple(self.calls),
            inputs={INPUT_NAME: self.input.out_shape},
            outputs=(x,),
            listed={INPUT_NAME: self.input, **self.layers},
            architecture=self.architecture,
            layout=self.layout,
        )

    def _add(
        self, name: str, class_name: str, inputs: tuple[str, ...], modules: tuple[str, ...] = (), **config: Any
    ) -> str:
        checked_name(name, "the name of a layer")
        if name in self.layers or name == INPUT_NAME:
            raise ArchitectureError(f"two layers are both named {name!r}")
        config = {**config, **CONSTANTS[class_name]}
        shapes = tuple(self.input.out_shape if one == INPUT_NAME else self.layers[one].out_shape for one in inputs)
        try:
            read = _read(class_name, json.dumps(config), shapes)
        except ArchitectureError as error:
            raise ArchitectureError(
                f"the input is too small: nothing is left at layer {name!r}. "
                f"Received: in_shape={self.architecture.in_shape}"
            ) from error
        self.layers[name] = dataclasses.replace(read, path=name, config=config)
        self.calls.append(Call(name, name, inputs))
        self.layout[name] = modules
        return name

    def _zero_pad(self, x: str, name: str, pad: tuple[int, int]) -> str:
        return self._add(name, "ZeroPadding2D", (x,), padding=[[pad[0], pad[0]], [pad[1], pad[1]]])

    def _conv(
        self, x: str, name: str, filters: int, kernel: tuple[int, int], strides: int, padding: str, module: str
    ) -> str:
        conventions = self.architecture.conventions
        return self._add(
            name,
            "Conv2D",
            (x,),
            (f"{module}.{name}",),
            filters=filters,
            kernel_size=list(kernel),
            strides=[strides, strides],
            padding=padding,
            use_bias=conventions.conv_bias,
            activation="linear",
            kernel_initializer=_initializer(INITIALIZERS[conventions.kernel_initializer], seed=None),
        )

    def _norm(self, x: str, name: str, module: str) -> str:
        conventions = self.architecture.conventions
        numbers = {"epsilon": conventions.epsilon, "momentum": conventions.momentum}
        return self._add(name, "BatchNormalization", (x,), (f"{module}.{name}",), axis=-1, **numbers)

    def _relu(self, x: str, name: str, module: str) -> str:
        return self._add(name, "ReLU", (x,), (module,))

    def _stem(self, x: str) -> str:
        names, conventions = self.architecture.names, self.architecture.conventions
        kernel = (STEM_KERNEL, STEM_KERNEL)
        if conventions.stem_padding == "zeros":
            x = self._zero_pad(x, names.stem_pad, (STEM_PAD, STEM_PAD))
        padding = "valid" if conventions.stem_padding == "zeros" else "same"
        x = self._conv(x, names.stem_conv, self.architecture.stem_filters, kernel, STEM_STRIDE, padding, "stem")
        x = self._norm(x, names.stem_norm, "stem")
        x = self._relu(x, names.stem_relu, f"stem.{names.stem_relu}")
        if conventions.pool_padding == "zeros":
            x = self._zero_pad(x, names.pool_pad, (POOL_PAD, POOL_PAD))
        padding = "same" if conventions.pool_padding == "same" else "valid"
        sizes = {"pool_size": [POOL_KERNEL] * 2, "strides": [POOL_STRIDE] * 2}
        return self._add(names.pool, "MaxPooling2D", (x,), (f"stem.{names.pool}",), **sizes, padding=padding)

    def _block(self, x: str, stage: int, position: int, index: int) -> str:
        """One residual block; the first of a stage projects, and strides unless the stem's pool just did."""
        names = self.architecture.names
        block = names.block(stage, index)
        module = f"stages.stage{stage}.{block}"
        strides = 2 if index == 0 and position > 0 else 1
        filters = self.architecture.filters[position]
        fill = {"stage": stage, "block": block}
        y = x
        for branch, width, (kernel, stride) in zip(names.branches, filters, self._convs(strides), strict=False):
            label = {**fill, "branch": branch}
            if branch != names.branches[0]:
                previous = names.branches[names.branches.index(branch) - 1]
                name = names.relu.format(**fill, branch=previous)
                y = self._relu(y, name, f"{module}.residual.{name}")
            padding = "same"
            if stride > 1 and max(kernel) > 1:  # symmetric, as in Caffe; 'same' would pad one side only
                y = self._zero_pad(y, names.pad.format(**label), (kernel[0] // 2, kernel[1] // 2))
                padding = "valid"
            y = self._conv(y, names.conv.format(**label), width, kernel, stride, padding, f"{module}.residual")
            y = self._norm(y, names.norm.format(**label), f"{module}.residual")
        if index == 0:
            label = {**fill, "branch": names.shortcut}
            shortcut = f"{module}.shortcut"
            x = self._conv(x, names.conv.format(**label), filters[-1], (1, 1), strides, "same", shortcut)
            x = self._norm(x, names.norm.format(**label), shortcut)
        inputs = (x, y) if names.shortcut_first else (y, x)
        y = self._add(names.add.format(**fill), "Add", inputs)
        return self._relu(y, names.out.format(**fill), f"{module}.relu")

    def _convs(self, strides: int) -> tuple[tuple[tuple[int, int], int], ...]:
        """(kernel, stride) of each convolution on a block's residual branch."""
        kernel = self.architecture.middle_kernel_size
        if self.architecture.block == "basic":
            return ((kernel, strides), (kernel, 1))
        first, middle = (strides, 1) if self.architecture.conventions.stride_in == "1x1" else (1, strides)
        return (((1, 1), first), (kernel, middle), ((1, 1), 1))

    def _head(self, x: str) -> str:
        names, head = self.architecture.names, self.architecture.head
        if head.pooling is None:
            return x
        pooling = "GlobalAveragePooling2D" if head.pooling == "avg" else "GlobalMaxPooling2D"
        x = self._add(names.global_pool, pooling, (x,), (f"head.{names.global_pool}",))
        if head.hidden_units is not None:
            x = self._dense(x, names.hidden, head.hidden_units, "relu", 1)
        if head.classes is not None:
            x = self._dense(x, names.classifier, head.classes, head.activation, 2 if head.hidden_units else 1)
        return x

    def _dense(self, x: str, name: str, units: int, activation: str, number: int) -> str:
        if self.architecture.head.dropout:
            x = self._add(f"dropout_{number:02d}", "Dropout", (x,), rate=self.architecture.head.dropout)
        behind = (f"head.{name}_relu",) if activation == "relu" else ()
        modules = (f"head.{name}", *behind)
        return self._add(name, "Dense", (x,), modules, units=units, activation=activation, use_bias=True)
