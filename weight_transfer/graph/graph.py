"""A network: its layers, and who reads whom. The one form of every network, wherever it comes from.

A Keras config of any schema is read into it, a weights file's family and a ResNet's recipe build it, the PyTorch
module is built from it, and what goes back to Keras is compared with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from weight_transfer.architecture import Architecture
from weight_transfer.errors import ArchitectureError
from weight_transfer.layer_types import LAYER_TYPES, DataFormat, Settings, Shape, Weight
from weight_transfer.layer_types.activations import ACTIVATION_TYPES
from weight_transfer.module_paths import HEAD, module_paths

FINAL_ACTIVATIONS = ("softmax", "sigmoid")  # what `predict` applies and `forward` does not
FEATURES = "features"  # the input of a ResNet's own head: its stages' feature map
IMAGE_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
INPUT = "InputLayer"


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        value: Name of what it returns: the layer's path, with ``#2`` and so on from its second call on.
        layer: Path of the layer called.
        inputs: Values it reads, in order.
        arguments: Constants of the call beside its inputs, by name, or by position (``"1"``) where Keras 3 wrote them
            so; only operations have them, whose settings hold what they say.
        training: The mode that the call itself says, whatever the model's is; None leaves it to the model. Keras 2
            keeps to it; Keras 3 writes it too, but `fit`, `evaluate` and `predict` override it, so that it is None.
    """

    value: str
    layer: str
    inputs: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False)
    training: bool | None = None


@dataclass(frozen=True)
class Layer:
    """One layer, however often it is called.

    Attributes:
        path: Its name, the names of the nested models that hold it before it: ``resnet50/conv1``.
        class_name: Keras class, without package or module.
        config: Its arguments as the file holds them; empty where a converted file's description holds them.
        settings: What it computes, in the words of the table of layer types; empty of an input, and of a layer that
            is refused.
        in_shapes: Of its first call's inputs, in Keras's layout without the batch axis.
        out_shape: Of its first call's output.
        regularizers: From the config, by argument.
        constraints: From the config, by argument.
    """

    path: str
    class_name: str
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)
    settings: Settings = field(default_factory=dict)
    in_shapes: tuple[Shape, ...] = ()
    out_shape: Shape = ()
    regularizers: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.path.rpartition("/")[2]

    @property
    def trainable(self) -> bool:
        """What its config says of whether it learns; True where it says nothing."""
        return self.config.get("trainable") is not False

    @cached_property
    def weights(self) -> Mapping[str, Weight]:
        """Its arrays by role, in Keras's order."""
        if self.class_name not in LAYER_TYPES:
            return {}
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


@dataclass(frozen=True, repr=False)
class Graph:
    """A whole network, nested models flattened.

    Attributes:
        name: Of the Keras model.
        layers: By path, without the inputs.
        calls: Each after the calls whose values it reads, without the inputs.
        inputs: Shape of each input by value, in the model's order.
        outputs: Values of the outputs, in the model's order.
        output_names: Keys of the outputs where the model returns a dict.
        data_format: Of every layer that has one.
        listed: By path, the layers as the config lists them, in its order; inputs are among them, and layers that
            no output needs.
        architecture: The ResNet that the network is; where its owner has put a head of their own behind the stages,
            the ResNet without a head. None of other networks.
        layout: The PyTorch modules of a ResNet's layers, by path; other layers' modules are called like them.
        refusal: Why the network cannot be imported, where it cannot: then settings and shapes are not all known.
    """

    name: str
    layers: Mapping[str, Layer]
    calls: tuple[Call, ...]
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...] | None = None
    data_format: DataFormat = "channels_last"
    listed: Mapping[str, Layer] = field(default_factory=dict, compare=False)
    architecture: Architecture | None = None
    layout: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    refusal: str | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<{self.title}: a graph of {len(self.layers)} layers>"

    def checked(self) -> Graph:
        """Returns the graph.

        Raises:
            ArchitectureError: The network cannot be imported; the message lists each layer that is in the way.
        """
        if self.refusal is not None:
            raise ArchitectureError(self.refusal)
        return self

    @property
    def resnet(self) -> Architecture | None:
        """The architecture of a network that is a ResNet, head included; None of every other."""
        return None if self.own_head is not None else self.architecture

    @property
    def imported(self) -> Graph | None:
        """The part that no ResNet's recipe builds: the network, its own head, or nothing."""
        return self if self.architecture is None else self.own_head

    @cached_property
    def own_head(self) -> Graph | None:
        """What a ResNet's owner has put behind its stages, as a network that reads their feature map, if anything."""
        if self.architecture is None or len(self.layout) == len(self.layers):
            return None
        end = next(call.value for call in reversed(self.calls) if call.layer in self.layout)
        return self.behind(end, [call for call in self.calls if call.layer not in self.layout])

    def behind(self, end: str, calls: Sequence[Call]) -> Graph:
        """Returns the network of some calls alone, which read a value as a feature map that is given.

        Args:
            end: The value.
            calls: The calls that follow it, none of which reads anything else of what comes before.
        """
        shape = self.shapes[end]
        layers = {call.layer: self.layers[call.layer] for call in calls}
        return dataclasses.replace(
            self,
            layers=layers,
            calls=tuple(
                dataclasses.replace(call, inputs=tuple(FEATURES if value == end else value for value in call.inputs))
                for call in calls
            ),
            inputs={FEATURES: shape},
            listed={FEATURES: Layer(FEATURES, INPUT, out_shape=shape), **layers},
            architecture=None,
            layout={},
        )

    @cached_property
    def modules(self) -> Mapping[str, tuple[str, ...]]:
        """By layer, the paths of the PyTorch modules that it runs through: its own, and a fused activation's."""
        if self.architecture is None:
            return module_paths({path: layer.fused_activation is not None for path, layer in self.layers.items()})
        if self.own_head is None:
            return self.layout
        own = {path: tuple(f"{HEAD}{place}" for place in places) for path, places in self.own_head.modules.items()}
        return {**self.layout, **own}

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
    def title(self) -> str:
        """What a person calls the network: ``ResNet-50``, or the Keras model's name."""
        return self.name if self.architecture is None else f"ResNet-{self.architecture.depth}"

    @property
    def channels_last(self) -> bool:
        """Whether the Keras model's channels come last."""
        return self.data_format == "channels_last"

    @property
    def takes_images(self) -> bool:
        """Whether it has one input, of height, width and so many channels as images have."""
        shapes = list(self.inputs.values())
        if len(shapes) != 1 or len(shapes[0]) != 3:
            return False
        return shapes[0][-1 if self.channels_last else 0] in IMAGE_CHANNELS

    @property
    def regularizers(self) -> dict[str, dict[str, Any]]:
        """The layers' regularizers, by layer and argument."""
        return {path: dict(layer.regularizers) for path, layer in self.layers.items() if layer.regularizers}

    @property
    def constraints(self) -> dict[str, dict[str, Any]]:
        """The layers' constraints, by layer and argument."""
        return {path: dict(layer.constraints) for path, layer in self.layers.items() if layer.constraints}

    @property
    def last_activations(self) -> list[str]:
        """Of each output, the name of the activation that ends it: ``relu``, ``softmax over axis 0``, ``linear``."""
        ends = {call.value: self.layers[call.layer] for call in self.calls}
        return [self._name_of_end(ends[value]) if value in ends else "linear" for value in self.outputs]

    def _name_of_end(self, layer: Layer) -> str:
        activation = layer.last_activation
        if activation is None:
            return "linear"
        rank = len(layer.out_shape)
        over_channels = activation.get("axis") in (None, 1 if self.channels_last else rank)
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
        """Returns the layers and calls as JSON can hold them."""
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
    def from_dict(cls, values: Mapping[str, Any]) -> Graph:
        """Builds a network from what `to_dict` gave.

        Raises:
            ArchitectureError: A field is missing or has an impossible value.
        """
        try:
            layers = {
                row["path"]: Layer(
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
            inputs = {value: tuple(shape) for value, shape in values["inputs"]}
            graph = cls(
                name=values["name"],
                layers=layers,
                calls=tuple(map(_call_of, values["calls"])),
                inputs=inputs,
                outputs=tuple(values["outputs"]),
                output_names=None if values["output_names"] is None else tuple(values["output_names"]),
                data_format=values["data_format"],
                listed={**{value: Layer(value, INPUT, out_shape=shape) for value, shape in inputs.items()}, **layers},
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


def _check_references(graph: Graph, num_layers: int) -> None:
    """Raises KeyError where a name stands for nothing, or for two things."""
    unknown = {layer.class_name for layer in graph.layers.values()} - set(LAYER_TYPES)
    known = set(graph.inputs)
    for call in graph.calls:
        if call.layer not in graph.layers or not known.issuperset(call.inputs) or call.value in known:
            raise KeyError(call.value)
        known.add(call.value)
    if unknown or len(graph.layers) != num_layers or not known.issuperset(graph.outputs):
        raise KeyError(str(unknown or graph.outputs))


def keras_depths(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Returns each layer's depth in a model that calls each once, in the order in which Keras's walk first meets them.

    The depth is the longest way to the output. Keras sorts ``model.layers`` by it, the deepest first, and within one
    depth by the order in which a depth-first walk from the output first meets the layers.

    Args:
        inputs: By layer, the layers that it reads.

    Source: keras/src/ops/function.py, map_graph, _build_map.
    """
    consumed = {name for names in inputs.values() for name in names}
    met: dict[str, None] = {}
    finished: dict[str, None] = {}
    for output in (name for name in inputs if name not in consumed):
        for name, leaving in _walk(output, inputs, met):
            if leaving:
                finished.setdefault(name)
            else:
                met[name] = None
    depth: dict[str, int] = {}
    for name in reversed(finished):
        depth.setdefault(name, 0)
        for source in inputs[name]:
            depth[source] = max(depth.get(source, 0), depth[name] + 1)
    return {name: depth[name] for name in met}


def _walk(output: str, inputs: Mapping[str, Sequence[str]], met: Mapping[str, None]) -> Iterator[tuple[str, bool]]:
    """Each layer behind an output that was not met before, when the walk comes to it and when it leaves it."""
    stack = [(output, False)]
    while stack:
        name, leaving = stack.pop()
        if leaving:
            yield name, True
        elif name not in met:
            yield name, False
            stack.append((name, True))
            stack.extend((source, False) for source in reversed(inputs[name]))


def keras_order(graph: Graph) -> tuple[Layer, ...]:
    """Returns the layers in the order of ``model.layers``, inputs included; of a model that calls each layer once.

    Source: keras/src/ops/function.py, map_graph, _build_map.
    """
    reads = {**dict.fromkeys(graph.inputs, ()), **{call.layer: call.inputs for call in graph.calls}}
    depth = keras_depths(reads)
    return tuple(
        sorted((graph.layers.get(name, graph.listed[name]) for name in depth), key=lambda layer: -depth[layer.path])
    )
