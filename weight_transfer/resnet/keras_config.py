"""The Keras configuration of an architecture, made without Keras.

One table gives what each layer class says besides the graph's own numbers. Two flavours are rendered from it:
Keras 3's (`.keras`, `model_from_json`) and Keras 2's, which stands in a legacy `.h5` and which Keras 3 reads too.
Only arguments that every Keras from 2.4 on, or every Keras 3, accepts are written: a newer one's extra argument
would stop an older one from loading the file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from weight_transfer.architecture import Architecture
from weight_transfer.graph import Graph, Layer, keras_order
from weight_transfer.graph.graph import INPUT
from weight_transfer.resnet.recipe import resnet_graph

DTYPE = "float32"  # of a model that computes in nothing else

Row: TypeAlias = dict[str, Any]  # a layer as a config lists it


def keras_config(architecture: Architecture, frozen: Collection[str] = (), dtype: str = DTYPE) -> dict[str, Any]:
    """Returns the configuration that Keras 3 rebuilds the model from.

    Example:
        >>> model = keras.models.model_from_json(json.dumps(keras_config(design(50))))

    Args:
        architecture: What to render.
        frozen: Names of the layers that do not learn.
        dtype: In which the model computes.

    Returns:
        A JSON-ready dictionary with new contents at each call; ``config/layers`` stand in the order of
        ``model.layers``, and the model is named ``resnet`` and its depth.

    Raises:
        ArchitectureError: The input is too small for the network.

    Source: keras/src/models/functional.py, Functional.get_config, keras 3.15.1.
    """
    graph = resnet_graph(architecture)
    shapes = graph.shapes

    def render(layer: Layer, inputs: tuple[str, ...]) -> Row:
        tensors: list[Any] = [
            {
                "class_name": "__keras_tensor__",
                "config": {"shape": [None, *shapes[name]], "dtype": dtype, "keras_history": [name, 0, 0]},
            }
            for name in inputs
        ]
        arguments = [tensors] if len(tensors) > 1 else tensors  # a merging layer is called on one list
        return {
            "module": "keras.layers",
            "class_name": layer.class_name,
            "config": _arguments(layer, frozen, dtype, "batch_shape"),
            "registered_name": None,
            "name": layer.path,
            "inbound_nodes": [{"args": arguments, "kwargs": {}}] if tensors else [],
        }

    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": _functional(graph, render),
        "registered_name": "Functional",
    }


def legacy_keras_config(architecture: Architecture, frozen: Collection[str] = (), dtype: str = DTYPE) -> dict[str, Any]:
    """Returns the configuration that a legacy ``.h5`` holds as ``model_config``, in Keras 2's shape.

    Keras 3 loads it as well; what Keras 3 itself writes into a legacy file Keras 2 cannot load.

    Args:
        architecture: What to render.
        frozen: Names of the layers that do not learn.
        dtype: In which the model computes.

    Returns:
        A JSON-ready dictionary, else as `keras_config`.

    Raises:
        ArchitectureError: The input is too small for the network.

    Source: tf_keras/src/engine/functional.py, get_network_config, tf_keras 2.21.0.
    """

    def render(layer: Layer, inputs: tuple[str, ...]) -> Row:
        return {
            "class_name": layer.class_name,
            "config": _arguments(layer, frozen, dtype, "batch_input_shape"),
            "name": layer.path,
            "inbound_nodes": [[[name, 0, 0, {}] for name in inputs]] if inputs else [],
        }

    return {"class_name": "Functional", "config": _functional(resnet_graph(architecture), render)}


def _functional(graph: Graph, render: Callable[[Layer, tuple[str, ...]], Row]) -> dict[str, Any]:
    reads = {call.layer: call.inputs for call in graph.calls}
    # A bare [name, node, tensor] makes input and output single tensors; Keras 3 turns Keras 2's list of one
    # into a model that returns a list of one.
    return {
        "name": graph.name,
        "trainable": True,
        "layers": [render(layer, reads.get(layer.path, ())) for layer in keras_order(graph)],
        "input_layers": [next(iter(graph.inputs)), 0, 0],
        "output_layers": [graph.outputs[0], 0, 0],
    }


def _arguments(layer: Layer, frozen: Collection[str], dtype: str, shape_key: str) -> dict[str, Any]:
    """The layer's constructor arguments; ``shape_key`` is the generation's word for an input's shape."""
    if layer.class_name == INPUT:
        return {"name": layer.path, "dtype": dtype, "sparse": False, shape_key: [None, *layer.out_shape]}
    own = {"name": layer.path, "trainable": layer.path not in frozen, "dtype": dtype}
    return {**own, **copy.deepcopy(dict(layer.config))}
