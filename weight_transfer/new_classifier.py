"""The same network with a classifier of another number of classes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from weight_transfer.architecture import Activation, Architecture
from weight_transfer.checkpoint.layer_names import layers_of
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Call, Graph, Layer
from weight_transfer.layer_types import Settings
from weight_transfer.layer_types.activations import ACTIVATION_TYPES
from weight_transfer.layer_types.dropout_and_noise import REGULARIZING_TYPES
from weight_transfer.layer_types.poolings import POOLING_TYPES
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph

# What may stand between a classifier and the output: layers without weights that keep classes apart.
BEHIND = frozenset({*ACTIVATION_TYPES, *POOLING_TYPES, *REGULARIZING_TYPES, "Flatten", "Reshape"})
CONVOLUTIONS = tuple(f"{name}{rank}D" for name in ("Conv", "Convolution") for rank in (1, 2, 3))
IN_KERAS_1: Mapping[str, tuple[str, ...]] = {"units": ("output_dim",), "filters": ("nb_filter",)}
WAY_OUT = "Build the network that you want in Keras with these weights, and convert that"


def with_num_classes(network: Graph, num_classes: int, activation: Activation | None = None) -> Graph:
    """Returns a network whose classifier tells another number of classes apart.

    Everything before it stays as it is. The new classifier has neither the regularizers nor the constraints of
    the one that it replaces.

    Args:
        network: A ResNet, which gets a classifier where it has none; or any network with one output that ends in a
            Dense or a convolution of kernel size 1, with nothing but activations, pooling and reshaping behind it.
        num_classes: From 1.
        activation: What `predict` ends with; by default what it ends with now, of a new classifier a softmax,
            or a sigmoid of one class.

    Raises:
        ArchitectureError: Its classifier is not clear, or there can be none such.
    """
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise ArchitectureError(f"num_classes must be a whole number from 1. Received: {num_classes!r}")
    if activation not in (None, "softmax", "sigmoid", "linear"):
        raise ArchitectureError(f"activation must be softmax, sigmoid or linear. Received: {activation!r}")
    if network.resnet is not None:
        return resnet_graph(_architecture(network.resnet, num_classes, activation))
    if network.architecture is None or network.own_head is None:
        return _graph(network, num_classes, activation)
    return with_own_head(network.architecture, _graph(network.own_head, num_classes, activation))


def config_of_new_classifier(
    config: Mapping[str, Any], before: Graph, after: Graph, renewed: Collection[str]
) -> dict[str, Any]:
    """Returns a Keras model's config with the classifier of another network; all else stays as it is.

    Args:
        config: That of the network before, in the schema of any Keras.
        before: The network that the config describes.
        after: What `with_num_classes` made of it.
        renewed: Layers that start anew, by their Keras paths: they learn, without regularizers and constraints.
    """
    changed = copy.deepcopy(dict(config))
    old, new = _settings(before), _settings(after)
    for path, layer in layers_of(changed):
        name = next((key for key in ("/".join(path), path[-1]) if key in new), None)
        inside = layer.get("config")
        if name is None or not isinstance(inside, dict):
            continue
        for key, value in new[name].items():
            argument = next((one for one in (key, *IN_KERAS_1.get(key, ())) if one in inside), None)
            if argument is not None and old.get(name, {}).get(key) != value:
                inside[argument] = (value or {"name": "linear"})["name"] if key == "activation" else value
        if name in renewed:
            kept = {key: None for key in inside if key.endswith(("_regularizer", "_constraint"))}
            inside.update({**kept, "trainable": True})
    return changed


def _settings(network: Graph) -> dict[str, Settings]:
    """What each layer that may change computes, by its Keras path."""
    if network.resnet is not None:
        head = network.resnet.head
        return {classifier_of(network): {"units": head.classes, "activation": {"name": head.activation}}}
    return {path: layer.settings for path, layer in network.layers.items()}


def classifier_of(network: Graph) -> str:
    """Returns the Keras path of a network's classifier.

    Raises:
        ArchitectureError: It is not clear.
    """
    if network.resnet is not None:
        return network.resnet.names.classifier
    return _from_output_to_classifier(network)[-1].layer


def _architecture(a: Architecture, num_classes: int, activation: Activation | None) -> Architecture:
    default: Activation = "sigmoid" if num_classes == 1 else "softmax"
    ends = activation or (default if a.head.classes is None else a.head.activation)
    _refuse_softmax_of_one(ends, num_classes)
    head = dataclasses.replace(a.head, pooling=a.head.pooling or "avg", classes=num_classes, activation=ends)
    return dataclasses.replace(a, head=head)


def _refuse_softmax_of_one(activation: str, num_classes: int) -> None:
    if activation == "softmax" and num_classes == 1:
        raise ArchitectureError("the softmax of one class is always 1. Take activation='sigmoid', or two classes.")


def _graph(graph: Graph, num_classes: int, activation: Activation | None) -> Graph:
    *behind, classifier = _from_output_to_classifier(graph)
    old = graph.layers[classifier.layer]
    size = "units" if old.class_name == "Dense" else "filters"
    current = old.settings[size]
    layers = dict(graph.layers)
    layers[old.path] = dataclasses.replace(
        old, settings={**old.settings, size: num_classes}, regularizers={}, constraints={}
    )
    for call in behind:
        layer = layers[call.layer]
        if layer.class_name == "Reshape":
            layers[layer.path] = dataclasses.replace(layer, settings=_reshaped(layer, graph, current, num_classes))
    if activation is not None and activation != graph.last_activations[0]:
        ending = layers[(behind[0] if behind else classifier).layer]
        layers[ending.path] = _ending_in(ending, activation, graph)
    changed = dataclasses.replace(graph, layers=layers)
    shapes = changed.shapes
    for call in (classifier, *behind):
        inputs = tuple(shapes[value] for value in call.inputs)
        layers[call.layer] = dataclasses.replace(layers[call.layer], in_shapes=inputs, out_shape=shapes[call.value])
    found = shapes[graph.outputs[0]]
    if found[_channel_axis(graph)] != num_classes:
        raise _unclear(graph, f"behind its last weights ({old.path!r}) classes and places become one axis")
    _refuse_softmax_of_one(changed.last_activations[0], num_classes)
    return dataclasses.replace(changed, layers=layers)


def _from_output_to_classifier(graph: Graph) -> list[Call]:
    """The calls from the output back to the classifier, which is the last."""
    if len(graph.outputs) != 1:
        raise _unclear(graph, f"it has {len(graph.outputs)} outputs ({', '.join(graph.outputs)})")
    made = {call.value: call for call in graph.calls}
    called = [call.layer for call in graph.calls]
    found: list[Call] = []
    value = graph.outputs[0]
    while value in made:
        call, layer = made[value], graph.layers[made[value].layer]
        found.append(call)
        if called.count(layer.path) > 1:
            raise _unclear(graph, f"{layer.path!r} is called several times")
        if _is_classifier(layer):
            return found
        if layer.class_name not in BEHIND or len(call.inputs) != 1:
            raise _unclear(graph, f"it ends in {layer.path!r} ({layer.class_name})")
        value = call.inputs[0]
    raise _unclear(graph, "it has none")


def _is_classifier(layer: Layer) -> bool:
    settings = layer.settings
    pointwise = layer.class_name in CONVOLUTIONS and set(settings["kernel_size"]) == {1} and settings["groups"] == 1
    return layer.class_name == "Dense" or pointwise


def _reshaped(layer: Layer, graph: Graph, current: int, num_classes: int) -> Settings:
    target = list(layer.settings["target_shape"])
    axis = _channel_axis(graph)
    if target[axis] == current:
        target[axis] = num_classes
    return {**layer.settings, "target_shape": target}


def _channel_axis(graph: Graph) -> int:
    return -1 if graph.data_format == "channels_last" else 0


def _ending_in(layer: Layer, activation: Activation, graph: Graph) -> Layer:
    """The layer with another activation, where that is an argument: of a Dense, a convolution or an Activation."""
    if "activation" not in layer.settings or graph.data_format != "channels_last":
        raise _unclear(graph, f"the activation of {layer.path!r} ({layer.class_name}) cannot be exchanged")
    settings: Mapping[str, Settings | None] = {
        "linear": None,
        "sigmoid": {"name": "sigmoid"},
        "softmax": {"name": "softmax", "axis": 1},
    }
    return dataclasses.replace(layer, settings={**layer.settings, "activation": settings[activation]})


def _unclear(graph: Graph, why: str) -> ArchitectureError:
    return ArchitectureError(f"{graph.name}: the classifier cannot be replaced: {why}. {WAY_OUT}.")
