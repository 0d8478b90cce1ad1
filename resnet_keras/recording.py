"""The reference side of a verification: runs Keras, writes down what every tap gives.

Run as ``python -m resnet_keras.recording REQUEST.json`` by `weight_transfer.parity.verify`, in a
process of its own. It prints JSON lines: progress, then one result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import load_file, save_file

from resnet_keras.rebuilding import OUTPUT, rebuild
from resnet_keras.reference import Reference, load_reference, reference_from_config
from resnet_keras.resnet import resnet
from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.structure import can_resize, same_layers
from weight_transfer.graph import layers, weighted
from weight_transfer.keras_graph import KerasGraph, keras_graph
from weight_transfer.layer_graph import LayerGraph
from weight_transfer.model_config import model_graph
from weight_transfer.network import Network, backbone_of, graph_of, network_from_dict, preprocessing_of
from weight_transfer.parity.error import tap_error


def record(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the reference in float64 and float32.

    Args:
        request: ``checkpoint``, ``reference`` (``file`` or ``twin``), ``arrays`` (``layer/role`` to
            the file's name), ``network``, ``config`` (of a weights-only file's model, where the
            network is an imported one), ``inputs`` (a safetensors file of ``case/number``),
            ``cases`` (name to whether it is preprocessed here), ``output`` (the safetensors file to
            write, ``case/tap`` in float64).

    Returns:
        ``taps`` in order, ``noise`` (float32's error by case and tap), ``loaded_by``.
    """
    network = network_from_dict(request["network"])
    reference = _reference(request, network)
    graph = keras_graph({"class_name": type(reference.model).__name__, "config": reference.model.get_config()})
    native = isinstance(network, Architecture)
    taps = _taps(graph, network)
    classifier = network.names.classifier if native and network.head.classes else None
    free = native and can_resize(model_graph(graph))
    rebuilt = {
        dtype: rebuild(reference, graph, dtype, taps, classifier, free_size=free, with_output=native)
        for dtype in ("float64", "float32")
    }
    inputs = load_file(request["inputs"])
    recorded: dict[str, np.ndarray] = {}
    noise: dict[str, dict[str, float]] = {}
    steps = _steps(len(request["cases"]) * 2)
    for case, raw in request["cases"].items():
        names = sorted(
            (name for name in inputs if name.startswith(f"{case}/")), key=lambda name: int(name[len(case) + 1 :])
        )
        arrays = [_network_input(inputs[name], raw, preprocessing_of(network)) for name in names]
        truth = _run(rebuilt["float64"], arrays)
        next(steps)
        rough = _run(rebuilt["float32"], arrays)
        next(steps)
        noise[case] = {tap: tap_error(rough[tap], truth[tap]).error for tap in truth}
        recorded |= {f"{case}/{tap}": np.ascontiguousarray(value) for tap, value in truth.items()}
    save_file(recorded, request["output"])
    return {"taps": [*taps, OUTPUT] if native else list(taps), "noise": noise, "loaded_by": reference.loaded_by}


def _reference(request: Mapping[str, Any], network: Network) -> Reference:
    """The model that Keras loads from the file, or one that takes the file's weights."""
    path = Path(request["checkpoint"])
    if request["reference"] == "file":
        found = load_reference(path)
        return Reference(found.module, found.model, f"{found.loaded_by} from the file")
    with read_checkpoint(path) as checkpoint:
        arrays = {name: checkpoint[source] for name, source in request["arrays"].items()}
    if isinstance(network, Architecture):
        model = resnet(network)
        for layer in weighted(layers(network)):
            model.get_layer(layer.name).set_weights([arrays[f"{layer.name}/{role}"] for role in layer.weights])
        return Reference(keras, model, f"our Keras twin in Keras {keras.__version__}")
    found = reference_from_config(request["config"], arrays)
    return Reference(found.module, found.model, f"the description given, in {found.loaded_by}")


def _taps(graph: KerasGraph, network: Network) -> dict[str, str]:
    """The value in the reference behind each tap of the network."""
    backbone, imported = backbone_of(network), graph_of(network)
    taps = {} if backbone is None else _taps_of_resnet(graph, backbone)
    return taps if imported is None else taps | _taps_of_graph(graph, imported)


def _taps_of_resnet(graph: KerasGraph, architecture: Architecture) -> dict[str, str]:
    """The value in the reference behind each tap of the architecture."""
    values = {layer.name: path for path, layer in graph.layers.items()}
    same = same_layers(model_graph(graph), architecture)
    return {layer.name: values[same[layer.name]] for layer in layers(architecture) if layer.tap and layer.name in same}


def _taps_of_graph(graph: KerasGraph, network: LayerGraph) -> dict[str, str]:
    """Every value that both sides name."""
    theirs = {call.value for call in graph.calls}
    return {call.value: call.value for call in network.calls if call.value in theirs}


def _network_input(images: np.ndarray, raw: bool, preprocessing: str) -> np.ndarray:
    """What Keras's own code feeds the network for these images."""
    if not raw or preprocessing == "none" or images.shape[-1] != 3:
        return images.astype(np.float32)
    return keras.applications.imagenet_utils.preprocess_input(images.astype(np.float32), mode=preprocessing)


def _run(model: Any, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    # Keras 3 has a dtype's name, tf_keras an object with one.
    dtypes = [getattr(tensor.dtype, "name", tensor.dtype) for tensor in model.inputs]
    inputs = [array.astype(dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return {tap: np.asarray(value) for tap, value in outputs.items()}


def _steps(total: int) -> Iterator[None]:
    """Prints progress each time it is asked for the next step."""
    for step in range(1, total + 1):
        print(json.dumps({"progress": step / total}), flush=True)
        yield


def main() -> None:
    """Reads a request, records, prints the result."""
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"result": record(request)}), flush=True)


if __name__ == "__main__":
    main()
