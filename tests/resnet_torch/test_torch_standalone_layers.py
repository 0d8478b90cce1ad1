"""A package of every row of the table of layers, with every option that the suite has of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras_layers
import pytest
import torch
from handmade_graphs import conv, network, row
from keras_unweighted_layers import answer
from standing_alone import stands_alone
from supported import ELSEWHERE, module_at

from resnet_torch import ResNet
from resnet_torch.imported import import_graph
from resnet_torch.saving import save_converted
from weight_transfer.architecture import Head
from weight_transfer.graph import Graph, read_graph
from weight_transfer.layer_types import LAYER_TYPES
from weight_transfer.resnet.dialects import design

UNWEIGHTED = module_at("resnet_torch/layers/test_torch_layers_unweighted.py").CASES
PACKAGES = ("keras", "tf_keras")
FLOAT32 = 1e-5


def of_one_layer(class_name: str, shapes: Sequence[tuple[int, ...]], arguments: dict, data_format: str) -> Graph:
    arguments = {**({"axis": -1, "momentum": 0.9} if class_name == "Scale" else {}), **arguments}
    if isinstance(arguments.get("activation"), dict):  # a layer
        ((activation, inner),) = arguments["activation"].items()
        arguments["activation"] = {"class_name": activation, "config": inner}
    inputs = [
        row("InputLayer", f"x{i}", [], batch_input_shape=[None, *shape], data_format=data_format)
        for i, shape in enumerate(shapes)
    ]
    names = [one["name"] for one in inputs]
    if "data_format" not in arguments and any(word in class_name for word in ("Conv", "Pool", "Pad", "Up", "Crop")):
        arguments = {**arguments, "data_format": data_format}
    layer = row(class_name, "layer", names, trainable=True, **arguments)
    layer["inbound_nodes"] = [[[name, 0, 0, {}] for name in names]]
    tops = [[name, 0, 0] for name in names]
    config = {"name": "one", "layers": [*inputs, layer], "input_layers": tops, "output_layers": [["layer", 0, 0]]}
    return read_graph({"class_name": "Functional", "config": config}).checked()


def side_by_side(graphs: Sequence[Graph], data_format: str) -> Graph:
    """One network of many: their inputs and outputs one behind the other."""
    merged = Graph("side by side", {}, (), {}, (), data_format=data_format)
    for number, graph in enumerate(graphs):
        name = f"n{number}/{{}}".format
        calls = (
            dataclasses.replace(c, value=name(c.value), layer=name(c.layer), inputs=tuple(map(name, c.inputs)))
            for c in graph.calls
        )
        layers = {name(path): dataclasses.replace(layer, path=name(path)) for path, layer in graph.layers.items()}
        merged = dataclasses.replace(
            merged,
            layers={**merged.layers, **layers},
            calls=(*merged.calls, *calls),
            inputs={**merged.inputs, **{name(value): shape for value, shape in graph.inputs.items()}},
            outputs=(*merged.outputs, *map(name, graph.outputs)),
        )
    return merged


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape) / 2
                tensor.copy_(values.abs() + 0.5 if name.endswith(("running_var", "variance")) else values)
    return model


def graphs_of(data_format: str) -> list[Graph]:
    found = [
        of_one_layer(case.class_name, [case.in_shape], case.arguments, data_format)
        for case in keras_layers.CASES
        if case.data_format == data_format
    ]
    return found + [
        of_one_layer(case.name, case.shapes, case.arguments, data_format)
        for case in UNWEIGHTED
        if (case.data_format or "channels_last") == data_format and case.name in LAYER_TYPES
    ]


def written(graphs: Sequence[Graph], data_format: str, folder) -> set[str]:
    network_of_all = side_by_side(graphs, data_format)
    save_converted(randomized(import_graph(network_of_all)), folder / "all.safetensors")
    stands_alone(folder / "all.safetensors", folder, FLOAT32)
    return {layer.class_name for layer in network_of_all.layers.values()}


@pytest.mark.parametrize("data_format", [pytest.param("channels_last", marks=pytest.mark.slow), "channels_first"])
def test_every_layer_stands_alone(data_format, tmp_path):
    graphs = graphs_of(data_format)
    classes = written(graphs, data_format, tmp_path)
    assert len(graphs) > (400 if data_format == "channels_last" else 20)
    if data_format == "channels_last":
        operations = {"Cast", "Divide", "GetItem", "Negative", "SlicingOpLambda", "Stack", "TFOpLambda", "TrueDivide"}
        assert classes >= set(LAYER_TYPES) - set(ELSEWHERE) - operations


@pytest.mark.parametrize("package", PACKAGES)
def test_every_operation_stands_alone(package, keras_side, tmp_path):
    cases = [case for case in UNWEIGHTED if case.name not in LAYER_TYPES and case.only in (None, package)]
    cases = [case for case in cases if case.data_format is None]
    rows = keras_side(answer, package, cases)
    graphs = [read_graph(row["config"]).checked() for row in rows]
    classes = written(graphs, "channels_last", tmp_path)
    assert classes >= ({"GetItem", "Stack"} if package == "keras" else {"SlicingOpLambda", "TFOpLambda"})


def test_a_resnet_and_its_own_head_share_their_helpers(tmp_path):
    """Both pad as TensorFlow does: the stem, and a strided convolution of the head."""
    backbone = design(18, in_shape=(64, 64, 3), stem_padding="same", head=Head(pooling=None, classes=None))
    head = network(conv("own", "image", strides=[2, 2]), outputs=[["own", 0, 0]], shape=(2, 2, 512))
    save_converted(randomized(ResNet(backbone, own_head=head)), tmp_path / "headed.safetensors")
    stands_alone(tmp_path / "headed.safetensors", tmp_path)
