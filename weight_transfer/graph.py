"""An architecture unrolled into its layers: one row per Keras layer, with names and shapes.

The rows are what everything else reads: the weights a file must hold, the modules that take them,
the Keras configuration, the order in which Keras lists layers, the cost of a forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from weight_transfer.architecture import Architecture
from weight_transfer.errors import ArchitectureError
from weight_transfer.module_paths import checked_name

LayerClass = Literal[
    "InputLayer",
    "ZeroPadding2D",
    "Conv2D",
    "BatchNormalization",
    "ReLU",
    "MaxPooling2D",
    "Add",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Dropout",
    "Dense",
]

STEM_KERNEL, STEM_STRIDE, STEM_PAD = 7, 2, 3  # He et al. 2015, table 1
POOL_KERNEL, POOL_STRIDE, POOL_PAD = 3, 2, 1

# The arrays of each class, in the order in which Keras numbers them in `vars/0`, `vars/1`, ...
ROLES: Mapping[str, tuple[str, ...]] = {
    "Conv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: Keras layer name.
        class_name: Keras layer class.
        inputs: Names of the layers it takes its input from, in order.
        config: The Keras arguments that decide what it computes.
        weights: Shape of each array by role, in Keras's layout.
        out_shape: Of its output without the batch axis, channels last; None for a free size.
        module: Path of the PyTorch module with its weights, where it has any.
        tap: Path of the PyTorch module whose output is this layer's, if one is: of a hidden dense
            layer the one after its activation, of the classifier the one before it.
    """

    name: str
    class_name: LayerClass
    inputs: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    out_shape: tuple[int | None, ...] = ()
    module: str | None = None
    tap: str | None = None

    @property
    def ends_block(self) -> bool:
        """Whether its output is a residual block's."""
        path = (self.tap or "").split(".")
        return path[0] == "stages" and path[3:] == ["relu"]

    @property
    def num_parameters(self) -> int:
        """Numbers in all arrays, moving statistics included."""
        return sum(math.prod(shape) for shape in self.weights.values())

    @property
    def multiply_adds(self) -> int | None:
        """Multiply-adds of one image, or None where the size is free."""
        kernel = self.weights.get("kernel")
        if kernel is None:
            return 0
        if None in self.out_shape:
            return None
        positions = self.out_shape[:-1]
        return math.prod(kernel) * math.prod(n for n in positions if n is not None)


def layers(architecture: Architecture) -> tuple[Layer, ...]:
    """Returns every layer in the order in which the twins build them.

    Raises:
        ArchitectureError: The input is too small for the network.
    """
    return tuple(_Builder(architecture).build())


def weighted(rows: Sequence[Layer]) -> tuple[Layer, ...]:
    """Returns the layers that hold arrays."""
    return tuple(layer for layer in rows if layer.weights)


class _Builder:
    """Adds layer after layer, keeping track of the shape."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.rows: dict[str, Layer] = {}

    def build(self) -> Iterator[Layer]:
        x = self._add("input_layer", "InputLayer", (), out_shape=self.architecture.in_shape)
        x = self._stem(x)
        for position, stage in enumerate(self.architecture.stages):
            for index in range(self.architecture.block_counts[position]):
                x = self._block(x, stage, position, index)
        self._head(x)
        yield from self.rows.values()

    def _add(self, name: str, class_name: LayerClass, inputs: tuple[str, ...], **fields: Any) -> str:
        checked_name(name, "the name of a layer")
        out_shape = fields.get("out_shape", ())
        if name in self.rows:
            raise ArchitectureError(f"two layers are both named {name!r}")
        if any(n is not None and n < 1 for n in out_shape):
            raise ArchitectureError(
                f"the input is too small: nothing is left at layer {name!r}. "
                f"Received: in_shape={self.architecture.in_shape}"
            )
        self.rows[name] = Layer(name, class_name, inputs, **fields)
        return name

    def _channels(self, x: str) -> int:
        channels = self.rows[x].out_shape[-1]
        if channels is None:
            raise ArchitectureError(f"the number of channels of {x!r} is not known")
        return channels

    def _size(self, x: str) -> tuple[int | None, int | None]:
        height, width, _ = self.rows[x].out_shape
        return height, width

    def _zero_pad(self, x: str, name: str, pad: tuple[int, int]) -> str:
        height, width = (None if n is None else n + 2 * p for n, p in zip(self._size(x), pad, strict=True))
        config = {"padding": [[pad[0], pad[0]], [pad[1], pad[1]]]}
        return self._add(name, "ZeroPadding2D", (x,), config=config, out_shape=(height, width, self._channels(x)))

    def _conv(
        self, x: str, name: str, filters: int, kernel: tuple[int, int], strides: int, padding: str, module: str
    ) -> str:
        bias = self.architecture.conventions.conv_bias
        weights: dict[str, tuple[int, ...]] = {"kernel": (*kernel, self._channels(x), filters)}
        if bias:
            weights["bias"] = (filters,)
        config = {
            "filters": filters,
            "kernel_size": list(kernel),
            "strides": [strides, strides],
            "padding": padding,
            "use_bias": bias,
            "activation": "linear",
        }
        out_shape = (*_windows(self._size(x), kernel, strides, padding), filters)
        return self._add(
            name,
            "Conv2D",
            (x,),
            config=config,
            weights=weights,
            out_shape=out_shape,
            module=f"{module}.{name}",
            tap=f"{module}.{name}",
        )

    def _norm(self, x: str, name: str, module: str) -> str:
        conventions = self.architecture.conventions
        shape = self.rows[x].out_shape
        return self._add(
            name,
            "BatchNormalization",
            (x,),
            config={"axis": -1, "epsilon": conventions.epsilon, "momentum": conventions.momentum},
            weights={role: (self._channels(x),) for role in ROLES["BatchNormalization"]},
            out_shape=shape,
            module=f"{module}.{name}",
            tap=f"{module}.{name}",
        )

    def _relu(self, x: str, name: str, tap: str | None = None) -> str:
        return self._add(name, "ReLU", (x,), out_shape=self.rows[x].out_shape, tap=tap)

    def _stem(self, x: str) -> str:
        names, conventions = self.architecture.names, self.architecture.conventions
        kernel = (STEM_KERNEL, STEM_KERNEL)
        if conventions.stem_padding == "zeros":
            x = self._zero_pad(x, names.stem_pad, (STEM_PAD, STEM_PAD))
        padding = "valid" if conventions.stem_padding == "zeros" else "same"
        x = self._conv(x, names.stem_conv, self.architecture.stem_filters, kernel, STEM_STRIDE, padding, "stem")
        x = self._norm(x, names.stem_norm, "stem")
        x = self._relu(x, names.stem_relu, tap=f"stem.{names.stem_relu}")
        if conventions.pool_padding == "zeros":
            x = self._zero_pad(x, names.pool_pad, (POOL_PAD, POOL_PAD))
        padding = "same" if conventions.pool_padding == "same" else "valid"
        pool = (POOL_KERNEL, POOL_KERNEL)
        return self._add(
            names.pool,
            "MaxPooling2D",
            (x,),
            config={"pool_size": list(pool), "strides": [POOL_STRIDE, POOL_STRIDE], "padding": padding},
            out_shape=(*_windows(self._size(x), pool, POOL_STRIDE, padding), self._channels(x)),
            tap=f"stem.{names.pool}",
        )

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
                y = self._relu(y, name, tap=f"{module}.residual.{name}")
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
        y = self._add(names.add.format(**fill), "Add", inputs, out_shape=self.rows[y].out_shape)
        return self._relu(y, names.out.format(**fill), tap=f"{module}.relu")

    def _convs(self, strides: int) -> tuple[tuple[tuple[int, int], int], ...]:
        """(kernel, stride) of each convolution on a block's residual branch."""
        kernel = self.architecture.middle_kernel_size
        if self.architecture.block == "basic":
            return ((kernel, strides), (kernel, 1))
        first, middle = (strides, 1) if self.architecture.conventions.stride_in == "1x1" else (1, strides)
        return (((1, 1), first), (kernel, middle), ((1, 1), 1))

    def _head(self, x: str) -> None:
        names, head = self.architecture.names, self.architecture.head
        if head.pooling is None:
            return
        pooling: LayerClass = "GlobalAveragePooling2D" if head.pooling == "avg" else "GlobalMaxPooling2D"
        x = self._add(
            names.global_pool,
            pooling,
            (x,),
            out_shape=(self._channels(x),),
            tap=f"head.{names.global_pool}",
        )
        if head.hidden_units is not None:
            x = self._dense(x, names.hidden, head.hidden_units, "relu", 1)
        if head.classes is not None:
            self._dense(x, names.classifier, head.classes, head.activation, 2 if head.hidden_units else 1)

    def _dense(self, x: str, name: str, units: int, activation: str, number: int) -> str:
        if self.architecture.head.dropout:
            config = {"rate": self.architecture.head.dropout}
            x = self._add(f"dropout_{number:02d}", "Dropout", (x,), config=config, out_shape=self.rows[x].out_shape)
        return self._add(
            name,
            "Dense",
            (x,),
            config={"units": units, "activation": activation, "use_bias": True},
            weights={"kernel": (self._channels(x), units), "bias": (units,)},
            out_shape=(units,),
            module=f"head.{name}",
            tap=f"head.{name}_relu" if activation == "relu" else f"head.{name}",
        )


def _windows(
    size: tuple[int | None, int | None], kernel: tuple[int, int], strides: int, padding: str
) -> tuple[int | None, int | None]:
    """Output size of a sliding window: TensorFlow's rules for 'same' and 'valid'."""
    height, width = (
        None if n is None else -(-n // strides) if padding == "same" else (n - k) // strides + 1
        for n, k in zip(size, kernel, strict=True)
    )
    return height, width


def keras_order(rows: Sequence[Layer]) -> tuple[Layer, ...]:
    """Returns the layers in the order of a Keras functional model's ``model.layers``.

    Keras sorts by depth (the longest way to the output, deepest first) and, within one depth, by
    the order in which a depth-first walk from the output first meets the layers.

    Source: keras/src/ops/function.py, map_graph, _build_map.
    """
    by_name = {layer.name: layer for layer in rows}
    depth = keras_depths(rows)
    return tuple(sorted((by_name[name] for name in depth), key=lambda layer: -depth[layer.name]))


def keras_depths(rows: Sequence[Layer]) -> dict[str, int]:
    """Returns the depth of each layer by name, in the order in which Keras's walk first meets them."""
    by_name = {layer.name: layer for layer in rows}
    consumed = {name for layer in rows for name in layer.inputs}
    outputs = [layer.name for layer in rows if layer.name not in consumed]
    met: dict[str, int] = {}
    finished: dict[str, None] = {}
    for output in outputs:
        stack = [(output, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                finished.setdefault(name)
                continue
            if name in met:
                continue
            met[name] = len(met)
            stack.append((name, True))
            stack.extend((source, False) for source in reversed(by_name[name].inputs))
    depth: dict[str, int] = {}
    for name in reversed(finished):
        depth.setdefault(name, 0)
        for source in by_name[name].inputs:
            depth[source] = max(depth.get(source, 0), depth[name] + 1)
    return {name: depth[name] for name in met}
