"""A ResNet under somebody's own head: the backbone by its names, what follows by the file's graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from weight_transfer.architecture import Architecture, Head
from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.conversion.accounting import Accounting
from weight_transfer.conversion.importing import by_role
from weight_transfer.conversion.structure import differences, same_values
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import layers
from weight_transfer.keras_graph import Call, KerasGraph, KerasLayer
from weight_transfer.layer_graph import LayerGraph, layer_graph
from weight_transfer.network import HeadedResNet

FEATURES = "features"  # the head's input: the backbone's feature map


def with_own_head(
    checkpoint: Checkpoint,
    architecture: Architecture,
    arrays: Mapping[str, Array],
    keras: KerasGraph,
    graph: LayerGraph,
) -> tuple[HeadedResNet, Mapping[str, Array]] | None:
    """Splits a model into a ResNet's stages and the head behind them.

    Args:
        checkpoint: The file.
        architecture: What its names and shapes show.
        arrays: Its arrays by ``layer/role``, nested models' names left out.
        keras: Its model's graph.
        graph: The same, as the table of layer types reads it.

    Returns:
        The network and its arrays, or None where the backbone is no ResNet of these names, or where
        the head reads from the middle of it.

    Raises:
        ArchitectureError: The head has layers that are not supported.
        MappingError: The head's arrays are not in the file.
    """
    backbone = dataclasses.replace(architecture, head=Head(pooling=None, classes=None))
    accounting = Accounting.of(arrays, backbone)
    if accounting.missing or accounting.misfits or differences(graph, backbone, outputs=False):
        return None
    head = head_behind(backbone, keras, graph, checkpoint.keras_version)
    if head is None:
        return None
    network = HeadedResNet(backbone, head)
    needed = {row.keras for row in accounting.rows}
    found = {name: array for name, array in arrays.items() if name in needed} | {
        name: array
        for name, array in by_role(head, checkpoint.arrays).items()
        if name.rpartition("/")[0] in head.layers
    }
    balance = Accounting.of(found, network)
    if not balance.complete or len(found) != len(checkpoint.arrays):
        return None
    return network, found


def head_behind(
    backbone: Architecture, keras: KerasGraph, graph: LayerGraph, keras_version: str | None
) -> LayerGraph | None:
    """Returns what follows a ResNet's stages in a model's graph; None where it reads from the middle of them.

    Args:
        backbone: The ResNet, without a head.
        keras: The whole model's graph.
        graph: The same, as the table of layer types reads it.
        keras_version: What wrote it.

    Raises:
        ArchitectureError: The head has layers that are not supported.
    """
    last = layers(backbone)[-1]
    value = same_values(graph, backbone).get(last.name)
    cut = None if value is None else _behind(keras, value, last.out_shape)
    return None if cut is None else layer_graph(cut, keras_version=keras_version)


def _behind(keras: KerasGraph, value: str, shape: tuple[int | None, ...]) -> KerasGraph | None:
    """The part of a graph that follows one value and reads nothing else of what comes before."""
    before = _ancestors(keras, value)
    rest = [call for call in keras.calls if call.value not in before]
    known = {value, *(call.value for call in rest)}
    reads_only_the_end = all(known.issuperset(call.inputs) for call in rest)
    shared = {call.layer for call in rest} & {call.layer for call in keras.calls if call.value in before}
    if not rest or not reads_only_the_end or shared or value in keras.outputs or not known.issuperset(keras.outputs):
        return None
    calls = [Call(FEATURES, FEATURES)]
    for call in rest:
        inputs = tuple(FEATURES if name == value else name for name in call.inputs)
        calls.append(dataclasses.replace(call, inputs=inputs))
    features = KerasLayer(FEATURES, "InputLayer", {"batch_shape": [None, *shape]})
    return KerasGraph(
        name=keras.name,
        layers={FEATURES: features, **{call.layer: keras.layers[call.layer] for call in rest}},
        calls=tuple(calls),
        inputs=(FEATURES,),
        outputs=keras.outputs,
        output_names=keras.output_names,
    )


def _ancestors(keras: KerasGraph, value: str) -> set[str]:
    """A value and everything that it depends on."""
    sources = {call.value: call.inputs for call in keras.calls}
    if value not in sources:
        raise ArchitectureError(f"the model has no value {value!r}")
    found, waiting = set(), [value]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(sources[name])
    return found
