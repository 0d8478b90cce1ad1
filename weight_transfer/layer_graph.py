"""A network imported from a Keras model's own graph: its layers in plain settings, and who reads whom.

It is to an imported network what `Architecture` is to a ResNet: framework-free, plain JSON in a
converted file, and the one source of shapes, array names and modules.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from weight_transfer.errors import ArchitectureError, listing
from weight_transfer.keras_graph import Call, KerasGraph, KerasLayer
from weight_transfer.layer_types import LAYER_TYPES, DataFormat, Options, Settings, Shape, Weight
from weight_transfer.layer_types.activations import ACTIVATION_TYPES
from weight_transfer.layer_types.augmentations import AUGMENTATION_TYPES
from weight_transfer.layer_types.normalizations import BATCH_NORMALIZATIONS
from weight_transfer.layer_types.ranges import LARGEST_SIZE, check_ranges
from weight_transfer.layer_types.regularizing import REGULARIZING_TYPES
from weight_transfer.module_paths import module_paths
from weight_transfer.value_dtypes import check_dtypes

ACTIVITY = "activity_regularizer"  # of the layer's output; the others are of an array
REGULARIZERS = (
    "kernel_regularizer",
    "bias_regularizer",
    ACTIVITY,
    "gamma_regularizer",
    "beta_regularizer",
    "depthwise_regularizer",
    "pointwise_regularizer",
    "alpha_regularizer",
    "W_regularizer",
    "b_regularizer",
)
CONSTRAINTS = tuple(
    name.replace("regularizer", "constraint") for name in REGULARIZERS if name != "activity_regularizer"
)
FINAL_ACTIVATIONS = ("softmax", "sigmoid")  # what `predict` applies and `forward` does not


@dataclass(frozen=True)
class GraphLayer:
    """One layer of an imported network.

    Attributes:
        path: Keras path, nested models first: ``resnet50/conv1``.
        class_name: Keras class, a row of `LAYER_TYPES`.
        settings: What it computes.
        in_shapes: Of its first call's inputs, in Keras's layout without the batch axis.
        out_shape: Of its first call's output.
        regularizers: From the config, kept for training.
        constraints: From the config, kept for training.
    """

    path: str
    class_name: str
    settings: Settings
    in_shapes: tuple[Shape, ...]
    out_shape: Shape
    regularizers: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Weight]:
        """Its arrays by role, in Keras's order."""
        return LAYER_TYPES[self.class_name].weights(self.settings, self.in_shapes)

    @property
    def fused_activation(self) -> Mapping[str, Any] | None:
        """What the layer applies to its output, where it does more than that."""
        if self.class_name == "Activation":
            return None
        activation: Mapping[str, Any] | None = self.settings.get("activation")
        return activation

    @property
    def last_activation(self) -> Mapping[str, Any] | None:
        """The activation that is all or the end of what it computes."""
        activation: Mapping[str, Any] | None = self.settings.get("activation")
        return self.settings if self.class_name in ACTIVATION_TYPES and "name" in self.settings else activation

    @property
    def num_parameters(self) -> int:
        """Numbers in all arrays."""
        return sum(math.prod(weight.shape) for weight in self.weights.values())

    @property
    def multiply_adds(self) -> int | None:
        """Multiply-adds of one image's kernels, or None where the size is free."""
        kernels = [weight.shape for role, weight in self.weights.items() if role.endswith("kernel")]
        if not kernels:
            return 0
        positions = self.out_shape[:-1]
        if None in positions:
            return None
        return sum(map(math.prod, kernels)) * math.prod(n for n in positions if n is not None)


@dataclass(frozen=True)
class LayerGraph:
    """A whole imported network.

    Attributes:
        name: Of the Keras model.
        layers: By path, without the inputs.
        calls: Each after the calls whose values it reads, without the inputs.
        inputs: Shape of each input by value, in the model's order.
        outputs: Values of the outputs, in the model's order.
        output_names: Keys of the outputs where the model returns a dict.
        data_format: Of every layer that has one.
    """

    name: str
    layers: Mapping[str, GraphLayer]
    calls: tuple[Call, ...]
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...] | None = None
    data_format: DataFormat = "channels_last"

    @cached_property
    def modules(self) -> Mapping[str, tuple[str, ...]]:
        """By layer, the paths of the PyTorch modules that it runs through: its own, and a fused activation's."""
        return module_paths({path: layer.fused_activation is not None for path, layer in self.layers.items()})

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every value, in Keras's layout without the batch axis."""
        shapes = dict(self.inputs)
        for call in self.calls:
            layer = self.layers[call.layer]
            shapes[call.value] = LAYER_TYPES[layer.class_name].out_shape(
                layer.settings, [shapes[name] for name in call.inputs]
            )
        return shapes

    @property
    def last_activations(self) -> list[str]:
        """Of each output, the name of the activation that ends it: ``relu``, ``softmax over axis 0``, ``linear``."""
        ends = {call.value: self.layers[call.layer] for call in self.calls}
        return [self._name_of_end(ends[value]) if value in ends else "linear" for value in self.outputs]

    def _name_of_end(self, layer: GraphLayer) -> str:
        activation = layer.last_activation
        if activation is None:
            return "linear"
        rank = len(layer.out_shape)
        over_channels = activation.get("axis") in (None, 1 if self.data_format == "channels_last" else rank)
        return str(activation["name"]) + ("" if over_channels else f" over axis {activation['axis']}")

    @property
    def final_activations(self) -> list[str | None]:
        """Of each output, the softmax or sigmoid that ends it and that no other layer reads; else None.

        `predict` alone applies it.
        """
        read = {name for call in self.calls for name in call.inputs}
        return [
            name if name in FINAL_ACTIVATIONS and value not in read and self.outputs.count(value) == 1 else None
            for value, name in zip(self.outputs, self.last_activations, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns the network as JSON can hold it."""
        return {
            "name": self.name,
            "layers": [
                {
                    "path": layer.path,
                    "class_name": layer.class_name,
                    "settings": layer.settings,
                    "in_shapes": [list(shape) for shape in layer.in_shapes],
                    "out_shape": list(layer.out_shape),
                    "regularizers": dict(layer.regularizers),
                    **({"constraints": dict(layer.constraints)} if layer.constraints else {}),
                }
                for layer in self.layers.values()
            ],
            "calls": [
                [call.value, call.layer, list(call.inputs), *([] if call.training is None else [call.training])]
                for call in self.calls
            ],
            "inputs": [[value, list(shape)] for value, shape in self.inputs.items()],
            "outputs": list(self.outputs),
            "output_names": None if self.output_names is None else list(self.output_names),
            "data_format": self.data_format,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LayerGraph:
        """Builds a network from what `to_dict` gave.

        Raises:
            ArchitectureError: A field is missing or has an impossible value.
        """
        try:
            layers = {
                row["path"]: GraphLayer(
                    path=row["path"],
                    class_name=row["class_name"],
                    settings=row["settings"],
                    in_shapes=tuple(map(tuple, row["in_shapes"])),
                    out_shape=tuple(row["out_shape"]),
                    regularizers=row["regularizers"],
                    constraints=row.get("constraints", {}),
                )
                for row in values["layers"]
            }
            graph = cls(
                name=values["name"],
                layers=layers,
                calls=tuple(map(_call_of, values["calls"])),
                inputs={value: tuple(shape) for value, shape in values["inputs"]},
                outputs=tuple(values["outputs"]),
                output_names=None if values["output_names"] is None else tuple(values["output_names"]),
                data_format=values["data_format"],
            )
            _check_references(graph, len(values["layers"]))
            for layer in layers.values():
                LAYER_TYPES[layer.class_name].out_shape(layer.settings, layer.in_shapes)
                LAYER_TYPES[layer.class_name].weights(layer.settings, layer.in_shapes)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
            raise ArchitectureError(f"not the description of an imported network ({error}).") from error
        return graph


def _call_of(row: Sequence[Any]) -> Call:
    """A call from the list that stands for it: value, layer, inputs, and the mode where it says one."""
    value, layer, inputs, *mode = row
    if mode not in ([], [True], [False]):
        raise ValueError(f"{value} is called with {mode}")
    return Call(value, layer, tuple(inputs), training=mode[0] if mode else None)


def _check_references(graph: LayerGraph, num_layers: int) -> None:
    """Raises KeyError where a name stands for nothing, or for two things."""
    unknown = {layer.class_name for layer in graph.layers.values()} - set(LAYER_TYPES)
    known = set(graph.inputs)
    for call in graph.calls:
        if call.layer not in graph.layers or not known.issuperset(call.inputs) or call.value in known:
            raise KeyError(call.value)
        known.add(call.value)
    if unknown or len(graph.layers) != num_layers or not known.issuperset(graph.outputs):
        raise KeyError(str(unknown or graph.outputs))


def layer_graph(keras: KerasGraph, keras_version: str | None = None) -> LayerGraph:
    """Reads every layer of a Keras graph by the table of layer types.

    Args:
        keras: The graph.
        keras_version: What wrote it: some layers compute otherwise in another Keras.

    Raises:
        ArchitectureError: Layers whose class or arguments are not in the table, or that compute with whole numbers;
            the message lists each with its path and class.
    """
    data_format = _data_format(keras)
    refused: list[str] = []
    layers: dict[str, GraphLayer] = {}
    shapes: dict[str, Shape] = {}
    for call in keras.calls:
        layer = keras.layers[call.layer]
        if layer.class_name == "InputLayer" and not call.inputs:
            shapes[call.value] = _input_shape(layer)
            continue
        in_shapes = [shapes[name] for name in call.inputs if name in shapes]
        try:
            if layer.class_name not in LAYER_TYPES:
                raise _unsupported(layer)
            if len(in_shapes) != len(call.inputs):
                continue  # what feeds it was refused
            read = _read(layer, call, in_shapes, data_format, keras_version)
            layers.setdefault(layer.path, read)
            shapes[call.value] = read.out_shape
        except ArchitectureError as error:
            refused.append(str(error))
    if refused:
        raise ArchitectureError(f"{len(refused)} layers cannot be imported:{listing(dict.fromkeys(refused))}")
    check_dtypes(keras, {path: layer.settings for path, layer in layers.items()})
    return LayerGraph(
        name=keras.name,
        layers=layers,
        calls=tuple(_as_made(call, layers[call.layer]) for call in keras.calls if call.value not in keras.inputs),
        inputs={value: shapes[value] for value in keras.inputs},
        outputs=keras.outputs,
        output_names=keras.output_names,
        data_format=data_format,
    )


def _as_made(call: Call, layer: GraphLayer) -> Call:
    """A call whose arguments are in the layer's settings, with the mode it says where the layer has two modes."""
    has_modes = layer.class_name in (*BATCH_NORMALIZATIONS, *REGULARIZING_TYPES, *AUGMENTATION_TYPES)
    return dataclasses.replace(call, arguments={}, training=call.training if has_modes else None)


def _unsupported(layer: KerasLayer) -> ArchitectureError:
    if ">" in layer.class_name:
        problem = "this class is not Keras's own, whatever it is called; what it computes does not stand in the file"
    else:
        problem = "this class is not supported"
    return ArchitectureError(f"layer {layer.path!r} ({layer.class_name}): {problem}.")


def _read(
    layer: KerasLayer, call: Call, in_shapes: Sequence[Shape], data_format: DataFormat, keras_version: str | None
) -> GraphLayer:
    """One layer's settings and shapes, and what acts on its weights in training."""
    row = LAYER_TYPES[layer.class_name]
    config = {**layer.config, "keras_version": keras_version}
    if call.arguments:
        config["arguments"] = dict(call.arguments)
    options = Options(layer.path, layer.class_name, config, in_shapes, data_format)
    policy = layer.config.get("dtype")
    if isinstance(policy, Mapping) and ">" in str(policy.get("class_name")):
        raise options.refusal(f"its dtype policy {policy['class_name']} is not Keras's own")
    try:
        settings = row.settings(options)
        options.finish()
        check_ranges(options, {**settings, **regularizers_in(layer)})
        out_shape = row.out_shape(settings, in_shapes)
        row.weights(settings, in_shapes)
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        if isinstance(error, ArchitectureError):
            raise
        raise options.refusal(f"its arguments are malformed ({error!r})") from error
    if any(n is not None and n < 1 for n in out_shape):
        raise options.refusal(f"nothing is left of its input {list(in_shapes)}")
    return GraphLayer(
        layer.path,
        layer.class_name,
        settings,
        tuple(in_shapes),
        out_shape,
        regularizers_in(layer),
        constraints_in(layer),
    )


def regularizers_in(layer: KerasLayer) -> dict[str, Any]:
    """The regularizers in a layer's config as they are, by argument; an ActivityRegularization is one itself."""
    kept = {name: layer.config[name] for name in REGULARIZERS if layer.config.get(name)}
    if layer.class_name == "ActivityRegularization":
        factors = {name: layer.config.get(name) or 0.0 for name in ("l1", "l2")}
        kept[ACTIVITY] = {"class_name": "L1L2", "config": factors}
    return kept


def constraints_in(layer: KerasLayer) -> dict[str, Any]:
    """The constraints in a layer's config as they are, by argument."""
    return {name: layer.config[name] for name in CONSTRAINTS if layer.config.get(name)}


def _data_format(keras: KerasGraph) -> DataFormat:
    """The one data format of all layers that have one."""
    found: dict[str, str] = {}
    for layer in keras.layers.values():
        if layer.class_name == "Flatten":
            continue  # Keras writes channels_last there whatever the model has
        value = layer.config.get("data_format", {"th": "channels_first"}.get(str(layer.config.get("dim_ordering"))))
        if value in ("channels_last", "channels_first"):
            found.setdefault(value, layer.path)
    if len(found) > 1:
        where = " and ".join(f"{name} at {path!r}" for name, path in found.items())
        raise ArchitectureError(f"the model mixes data formats ({where}). Expected one.")
    return "channels_first" if "channels_first" in found else "channels_last"


def _input_shape(layer: KerasLayer) -> Shape:
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    if isinstance(shape, (list, tuple)) and len(shape) == 1 and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    if not isinstance(shape, (list, tuple)) or any(not isinstance(n, int) for n in shape if n is not None):
        raise ArchitectureError(f"input {layer.path!r} has no shape. Received: {shape!r}")
    if any(size is not None and not 1 <= size <= LARGEST_SIZE for size in shape[1:]):
        raise ArchitectureError(f"input {layer.path!r} has an impossible size. Received: {shape!r}")
    return tuple(shape[1:])
